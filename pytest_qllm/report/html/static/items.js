"use strict";
// The items of one cell: what changed, filtered, searched and paged. What a model said is only ever set as text.
(() => {
  const { $, $$, unpack } = window.qllm;
  const SIZE = 50;
  const WORDS = { changed: "changed", broken: "broken", mended: "mended", other: "same score, other answer", same: "same", all: "all" };
  const MARKS = { broken: "▼ broken", mended: "▲ mended", other: "≠ other", same: "= same" };

  function make(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }
  const figure = (value, digits) => value.toFixed(digits).replace("-", "\u2212");
  const signed = (value, digits) => (value > 0 ? "+" : "") + figure(value, digits);
  const short = (text, most) => text.slice(0, 4 * most).replace(/\s+/g, " ").trim().slice(0, most);
  // Two long texts from where they part.
  function apart([one, other]) {
    let at = 0;
    while (at < one.length && one[at] === other[at]) at += 1;
    if (one === other || at < 16) return [one, other];
    return [one, other].map((text) => `…${text.slice(at - 6)}`);
  }
  const letter = (at) => (at < 26 ? String.fromCharCode(65 + at) : String(at + 1));

  async function load(place) {
    const { benchmark, metric, regime } = place.dataset;
    const [items, before, after] = (
      await Promise.all(["items", "fp16", regime].map((part) => unpack(part === "items" ? `items/${benchmark}` : `answers/${benchmark}/${metric}/${part}`)))
    ).map((text) => JSON.parse(text));
    return new Table(items, before, after);
  }

  // All items that both models were asked, with what became of each.
  class Table {
    constructor(items, before, after) {
      Object.assign(this, { items, before, after });
      const both = items.items.map((_, at) => at).filter((at) => before.scores[at] != null && after.scores[at] != null);
      this.graded = Boolean(before.weights) || both.some((at) => ![0, 1].includes(before.scores[at]) || ![0, 1].includes(after.scores[at]));
      this.rows = both.map((at, number) => ({ at, number: number + 1, state: this.state(at) }));
      this.counts = { all: this.rows.length, broken: 0, mended: 0, other: 0, same: 0 };
      for (const row of this.rows) this.counts[row.state] += 1;
      this.counts.changed = this.counts.broken + this.counts.mended;
      this.names = items.subsets || items.clusters;
    }
    score(side, at) {
      const weight = this.before.weights ? this.before.weights[at] : 1;
      return side.scores[at] / weight;
    }
    state(at) {
      const change = this.score(this.after, at) - this.score(this.before, at);
      if (change) return change < 0 ? "broken" : "mended";
      if (this.before.answers && this.after.answers && this.before.answers[at] !== this.after.answers[at]) return "other";
      return "same";
    }
    // What the model gives to the right choice; the score itself where there are no choices.
    value(side, at) {
      const likelihoods = side.likelihoods?.[at];
      if (!likelihoods) return this.score(side, at);
      const target = this.items.targets?.[at];
      if (likelihoods.length > 1 && typeof target === "number") return Math.log(shares(likelihoods)[target]);
      return likelihoods.length === 1 ? likelihoods[0] : this.score(side, at);
    }
    change(at) {
      return this.value(this.after, at) - this.value(this.before, at);
    }
    said(side, at) {
      const answer = side.answers?.[at];
      const choices = this.items.choices?.[at];
      if (answer === null || answer === undefined) return figure(this.score(side, at), this.before.weights ? 3 : 2);
      if (choices?.length === 1) return answer ? `“${choices[0].trim()}”` : "another";
      if (choices) return typeof answer === "number" ? `${letter(answer)}` : String(answer);
      return String(answer);
    }
    haystack(row) {
      if (row.haystack === undefined) {
        const { at } = row;
        const choices = this.items.choices?.[at] || [];
        const answers = choices.length ? [] : [this.before.answers?.[at], this.after.answers?.[at]];
        const parts = [this.items.prompts?.[at], ...choices, this.items.targets?.[at], this.names?.[at], ...answers, this.items.items[at]];
        row.haystack = parts.filter((part) => typeof part === "string").join("\n").toLowerCase();
      }
      return row.haystack;
    }
    clusters() {
      const found = new Map();
      for (const row of this.rows) {
        const name = this.names[row.at] ?? "";
        const entry = found.get(name) || { name, items: 0, broken: 0, mended: 0 };
        entry.items += 1;
        if (row.state in entry) entry[row.state] += 1;
        found.set(name, entry);
      }
      return [...found.values()].sort((a, b) => b.broken - b.mended - (a.broken - a.mended) || b.broken - a.broken || (a.name < b.name ? -1 : 1));
    }
  }
  function shares(likelihoods) {
    const most = Math.max(...likelihoods);
    const parts = likelihoods.map((value) => Math.exp(value - most));
    const sum = parts.reduce((total, part) => total + part, 0);
    return parts.map((part) => part / sum);
  }

  class Explorer {
    constructor(place, table) {
      this.table = table;
      this.page = 0;
      place.replaceChildren($("#explorer").content.cloneNode(true));
      this.root = place;
      this.words = table.graded ? { ...WORDS, broken: "worse", mended: "better" } : WORDS;
      this.marks = table.graded ? { ...MARKS, broken: "▼ worse", mended: "▲ better" } : MARKS;
      this.search = $(".search input", place);
      this.subset = $(".subset select", place);
      this.order = $(".order select", place);
      this.controls();
      this.summary();
      this.clusters();
      this.find();
    }
    controls() {
      const { counts, names } = this.table;
      const group = `show-${Math.random()}`;
      const first = counts.changed ? "changed" : "all";
      for (const [value, word] of Object.entries(this.words)) {
        if (value === "other" && !counts.other) continue;
        const radio = make("input", { type: "radio", name: group, value, checked: value === first });
        $("fieldset", this.root).append(make("label", {}, radio, make("span", { textContent: `${word} ${counts[value].toLocaleString("en")}` })));
      }
      if (names) {
        this.subset.append(make("option", { value: "", textContent: "all" }));
        for (const name of [...new Set(names.filter((one) => one != null))].sort()) this.subset.append(make("option", { value: name, textContent: name }));
      } else $(".subset", this.root).hidden = true;
      if (this.table.graded) this.order.value = "loss";
      $("form", this.root).addEventListener("submit", (event) => event.preventDefault());
      for (const one of [$("fieldset", this.root), this.subset, this.order]) one.addEventListener("change", () => this.find());
      let waiting = 0;
      this.search.addEventListener("input", () => {
        clearTimeout(waiting);
        waiting = setTimeout(() => this.find(), 120);
      });
      $(".back", this.root).addEventListener("click", () => this.turn(-1));
      $(".next", this.root).addEventListener("click", () => this.turn(1));
    }
    summary() {
      const { counts } = this.table;
      const words = this.words;
      let text = `Of ${counts.all.toLocaleString("en")} items ${counts.broken.toLocaleString("en")} are ${words.broken}, ${counts.mended.toLocaleString("en")} ${words.mended}, ${(counts.same + counts.other).toLocaleString("en")} the same${counts.other ? ` (${counts.other.toLocaleString("en")} with another answer)` : ""}.`;
      const top = this.table.names && counts.broken ? this.table.clusters().reduce((a, b) => (b.broken > a.broken ? b : a)) : null;
      if (top && top.items < counts.all) text += ` ${top.broken} of ${counts.broken} losses are in ${top.name}.`;
      $(".summary", this.root).textContent = text;
    }
    clusters() {
      if (!this.table.names) return;
      const found = this.table.clusters();
      if (found.length < 2) return;
      const body = make("tbody");
      for (const one of found) {
        const choose = make("button", { type: "button", textContent: one.name });
        choose.addEventListener("click", () => {
          this.subset.value = one.name;
          this.find();
        });
        body.append(make("tr", {}, make("th", { scope: "row" }, choose), ...[one.items, one.broken, one.mended].map(cell), cell(signed(one.mended - one.broken, 0))));
      }
      const head = make("tr", {}, ...["subset", "items", this.words.broken, this.words.mended, "net"].map((name) => make("th", { scope: "col", textContent: name })));
      const table = make("table", { className: "plain" }, make("thead", {}, head), body);
      $(".clusters", this.root).append(make("details", {}, make("summary", { textContent: `totals of ${found.length} subsets` }), make("div", { className: "scroll" }, table)));
    }
    find() {
      const show = $("fieldset input:checked", this.root).value;
      const wanted = this.search.value.trim().toLowerCase();
      const { table } = this;
      const subset = table.names ? this.subset.value : "";
      this.found = table.rows.filter(
        (row) =>
          (show === "all" || row.state === show || (show === "changed" && (row.state === "broken" || row.state === "mended"))) &&
          (!subset || table.names[row.at] === subset) &&
          (!wanted || table.haystack(row).includes(wanted)),
      );
      if (this.order.value !== "asked") {
        const way = this.order.value === "loss" ? 1 : -1;
        const changes = new Map(this.found.map((row) => [row, way * table.change(row.at)]));
        this.found.sort((a, b) => changes.get(a) - changes.get(b));
      }
      this.page = 0;
      this.draw();
    }
    turn(step) {
      this.page += step;
      this.draw();
      this.root.scrollIntoView();
    }
    draw() {
      const pages = Math.max(Math.ceil(this.found.length / SIZE), 1);
      const start = this.page * SIZE;
      const rows = this.found.slice(start, start + SIZE);
      $(".list", this.root).replaceChildren(...rows.map((row) => this.row(row)));
      const shown = rows.length ? `${(start + 1).toLocaleString("en")}–${(start + rows.length).toLocaleString("en")} of ${this.found.length.toLocaleString("en")}` : "no item is like that";
      $(".pages [role=status]", this.root).textContent = shown;
      $(".back", this.root).disabled = this.page === 0;
      $(".next", this.root).disabled = this.page >= pages - 1;
    }
    row(row) {
      const { table } = this;
      const { at } = row;
      const name = table.names?.[at];
      const prompt = table.items.prompts?.[at];
      const question = make("span", { className: "question" }, name ? make("i", { textContent: `${name} · ` }) : null, prompt === undefined ? `item ${table.items.items[at]}` : short(prompt, 220));
      const said = apart([table.before, table.after].map((side) => table.said(side, at))).map((text) => short(text, 40));
      const summary = make(
        "summary",
        {},
        make("span", { className: `mark ${row.state}`, textContent: this.marks[row.state] }),
        make("span", { className: "number", textContent: `#${row.number}` }),
        question,
        make("span", { className: "answers", textContent: said[0] === said[1] ? said[0] : `${said[0]} → ${said[1]}` }),
      );
      const details = make("details", {}, summary);
      details.addEventListener("toggle", () => details.open && details.children.length === 1 && details.append(this.body(row)), { once: false });
      return make("li", {}, details);
    }
    body({ at }) {
      const { table } = this;
      const { items, before, after } = table;
      const parts = [];
      const head = (text) => parts.push(make("h4", { textContent: text }));
      const text = (content) => make("pre", { className: "text", textContent: content, tabIndex: 0 });
      const beginning = items.beginnings?.[items.beginning?.[at]];
      if (beginning) parts.push(make("details", { className: "faint" }, make("summary", { textContent: "what its prompt begins with, as others do" }), text(beginning)));
      if (items.prompts) {
        head(before.weights ? "text" : "prompt");
        parts.push(text(items.prompts[at]));
      }
      const choices = items.choices?.[at];
      if (choices) {
        head("answers");
        parts.push(this.choices(at, choices));
      } else if (before.answers && typeof before.answers[at] === "string") {
        if (items.targets?.[at] != null) {
          head("right answer");
          parts.push(text(String(items.targets[at])));
        }
        const side = (name, one) => make("div", {}, make("h4", { textContent: `${name}${one.hit_limit?.includes(at) ? " (ended by the limit of tokens)" : ""}: score ${figure(one.scores[at], 2)}` }), text(String(one.answers[at])));
        parts.push(make("div", { className: "pair" }, side("baseline", before), side("candidate", after)));
      }
      const unit = before.weights ? " nats per token" : "";
      const digits = table.graded ? 4 : 0;
      const [then, now] = [table.score(before, at), table.score(after, at)];
      head("scores");
      parts.push(make("p", { textContent: `baseline ${figure(then, digits)}, candidate ${figure(now, digits)}: ${signed(now - then, digits)}${unit}${before.weights ? ` over ${before.weights[at]} tokens` : ""}` }));
      parts.push(make("p", { className: "faint", textContent: `item ${items.items[at]}` }));
      return make("div", { className: "body" }, ...parts);
    }
    choices(at, choices) {
      const { items, before, after } = this.table;
      const target = items.targets?.[at];
      const head = make("tr", {}, ...["choice", "baseline", "candidate"].map((name) => make("th", { scope: "col", textContent: name })));
      const body = make("tbody");
      const sides = [before, after].map((side) => ({ answer: side.answers?.[at], likelihoods: side.likelihoods?.[at] }));
      choices.forEach((choice, place) => {
        const right = choices.length > 1 && target === place;
        const name = choices.length > 1 ? `${letter(place)}  ` : "";
        const row = make("tr", { className: right ? "right" : "" }, make("th", { scope: "row", textContent: `${name}${choice.trim()}${right ? "  ✓ right" : ""}` }));
        for (const { answer, likelihoods } of sides) {
          const chosen = choices.length > 1 ? answer === place : answer === 1;
          let said = "";
          if (likelihoods) said = choices.length > 1 ? `${figure(100 * shares(likelihoods)[place], 1)} %` : `${figure(likelihoods[place], 2)} nats`;
          if (chosen) said += choices.length > 1 ? "  ● its answer" : "  ● would say it";
          else if (choices.length === 1) said += "  ○ would not";
          row.append(make("td", { className: chosen ? "chosen" : "", textContent: said }));
        }
        body.append(row);
      });
      return make("div", { className: "scroll" }, make("table", { className: "plain choices" }, make("thead", {}, head), body));
    }
  }
  const cell = (value) => make("td", { textContent: String(value) });

  window.qllm.explore = async (place) => {
    place.textContent = "Unpacking the items…";
    try {
      const table = await load(place);
      if (place.isConnected) place.explorer = new Explorer(place, table);
    } catch (error) {
      place.textContent = `The items cannot be shown: ${error.message}.`;
    }
  };
  addEventListener("keydown", (event) => {
    const search = $(".explorer .search input");
    if (event.key === "/" && search && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
})();
