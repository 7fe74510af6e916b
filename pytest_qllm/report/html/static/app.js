"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Content that is needed on few pages is compressed, and read when a page asks for it.
  const unpacked = new Map();
  async function read(name) {
    const script = $(`script[data-pack="${CSS.escape(name)}"]`);
    if (!script) throw new Error(`this report has no ${name}`);
    if (!("DecompressionStream" in window)) throw new Error("this browser is too old to unpack it");
    const bytes = Uint8Array.from(atob(script.textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }
  function unpack(name) {
    if (!unpacked.has(name)) unpacked.set(name, read(name));
    return unpacked.get(name);
  }
  window.qllm = { $, $$, unpack };

  // Colours: as the system has them, until someone chooses.
  const themes = ["auto", "light", "dark"];
  const button = $("#theme");
  function show(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("span", button).textContent = theme;
    button.setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system" : theme}`);
  }
  function kept(value) {
    try {
      if (value) localStorage.setItem("qllm-theme", value);
      return localStorage.getItem("qllm-theme");
    } catch {
      return value; // a file that may keep nothing
    }
  }
  let theme = themes.includes(kept()) ? kept() : "auto";
  show(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    kept(theme);
    show(theme);
  });

  // Plots: the library is unpacked when the first one comes into view.
  let library = null;
  function plotly() {
    library ??= unpack("plotly").then((source) => {
      const script = document.createElement("script");
      script.textContent = source;
      document.head.append(script);
      return window.Plotly;
    });
    return library;
  }
  const figures = JSON.parse($("#figures").textContent);
  async function draw(canvas) {
    if (canvas.dataset.drawn) return;
    canvas.dataset.drawn = "yes";
    const spec = structuredClone(figures[canvas.dataset.figure]);
    try {
      const found = await plotly();
      await found.newPlot(canvas, spec.data, spec.layout, { displayModeBar: false, responsive: true });
      canvas.dataset.drawn = "done";
    } catch (error) {
      canvas.textContent = `No plot: ${error.message}. The table below has its figures.`;
    }
  }
  const seen = new IntersectionObserver(
    (entries) => entries.filter((one) => one.isIntersecting).forEach((one) => (seen.unobserve(one.target), draw(one.target))),
    { rootMargin: "150px" },
  );
  function watch(root) {
    for (const canvas of $$(".canvas", root)) {
      canvas.style.minHeight = `${figures[canvas.dataset.figure].layout.height}px`;
      seen.observe(canvas);
    }
  }

  // Pages: a cell is a template that is put in place; everything else is a section of the first page.
  const overview = $("#overview");
  const page = $("#page");
  const title = document.title;
  let from = 0;
  function route() {
    const place = location.hash.slice(1);
    const template = place.startsWith("/") ? $(`template[data-place="${CSS.escape(place)}"]`) : null;
    if (!overview.hidden && template) from = scrollY;
    overview.hidden = Boolean(template) || place.startsWith("/");
    page.hidden = !overview.hidden;
    page.replaceChildren();
    document.title = title;
    if (overview.hidden) {
      if (template) page.append(template.content.cloneNode(true));
      else page.innerHTML = '<h1 tabindex="-1">No such page</h1><p><a href="#overview">all verdicts</a></p>';
      const heading = $("h1", page);
      if (template) document.title = `${heading.textContent} · ${title}`;
      scrollTo(0, 0);
      heading.focus({ preventScroll: true });
      watch(page);
      $$(".explorer", page).forEach((place) => window.qllm.explore(place));
    } else if (place === "overview" || !place) {
      scrollTo(0, place ? from : 0);
    } else {
      document.getElementById(place)?.scrollIntoView();
    }
  }
  addEventListener("hashchange", route);

  page.addEventListener("click", async (event) => {
    const copy = event.target.closest(".copy");
    if (!copy) return;
    const code = $("code", copy.parentElement);
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "copied";
    } catch {
      copy.textContent = "selected";
    }
  });

  // Arrows go from cell to cell in the matrix.
  overview.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".matrix td");
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!cell || !step) return;
    const row = cell.parentElement;
    const target = row.parentElement.rows[row.sectionRowIndex + step[0]]?.cells[cell.cellIndex + step[1]];
    const link = target && $("a", target);
    if (link) {
      event.preventDefault();
      link.focus();
    }
  });

  // On paper the tables stand for themselves.
  addEventListener("beforeprint", () => $$("details.data,details.provenance").forEach((one) => (one.open = true)));
  addEventListener("afterprint", () => $$("details.data,details.provenance").forEach((one) => (one.open = false)));

  addEventListener("DOMContentLoaded", () => {
    watch(overview);
    if (location.hash.length > 1) route();
  });
})();
