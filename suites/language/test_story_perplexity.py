def test_story_perplexity(gate):
    gate("story_perplexity")
