// Predictions: remembers the reader's answer, and covers the outputs that follow until there is one.
(function () {
  "use strict";
  if (window.cnncoursePredict) return window.cnncoursePredict.start();

  const memory = {}; // where the browser keeps nothing (a sandbox, private mode)
  const PREFIX = "cnncourse:predict:";

  function load(key) {
    try {
      const text = window.localStorage.getItem(PREFIX + key);
      if (text) return JSON.parse(text);
    } catch (_) { /* not allowed here */ }
    return memory[key] || null;
  }

  function save(key, answer) {
    memory[key] = answer;
    try {
      if (answer) window.localStorage.setItem(PREFIX + key, JSON.stringify(answer));
      else window.localStorage.removeItem(PREFIX + key);
    } catch (_) { /* not allowed here */ }
  }

  // The parts of the page that follow a prediction, in order: outputs of code cells, and text.
  function* following(root) {
    const cell = root.closest(".jp-Cell");
    if (cell) { // JupyterLab, Notebook 7, and what nbconvert makes
      const cells = Array.from((cell.closest(".jp-Notebook") || document).querySelectorAll(".jp-Cell"));
      for (const next of cells.slice(cells.indexOf(cell) + 1)) {
        if (next.classList.contains("jp-CodeCell")) {
          const output = next.querySelector(".jp-Cell-outputArea, .jp-OutputArea");
          yield { element: output && output.querySelector(".jp-OutputArea-output") ? output : null, code: true };
        } else {
          // Block by block, because a cell may hold the end of one section and the beginning of the next. JupyterLab
          // draws text when it comes into sight: what is still blank ends the cover, and is looked at again then.
          const text = next.querySelector(".jp-RenderedMarkdown");
          if (!text) yield { element: null, heading: true };
          for (const block of text ? text.children : []) {
            yield { element: block, heading: /^H[1-6]$/.test(block.tagName) };
          }
        }
      }
      return;
    }
    const own = root.closest(".cell");
    for (let next = own && own.nextElementSibling; next; next = next.nextElementSibling) {
      if (next.classList.contains("cell")) yield { element: next.querySelector(".cell_output"), code: true };
      else yield { element: next, heading: /^(SECTION|H[1-6])$/.test(next.tagName) };
    }
  }

  function covered(root) {
    const parts = [];
    let last = -1; // of the outputs: the one with the measurement, or the first
    for (const part of following(root)) {
      if (part.heading || (part.element && part.element.querySelector(".cnncourse-predict"))) break;
      parts.push(part);
      if (!part.code || !part.element) continue;
      const end = part.element.querySelector('.cnncourse-measured[data-key="' + root.dataset.key + '"]');
      if (last < 0 || end) last = parts.length - 1;
      if (end) break;
    }
    if (last < 0) return [];
    const chosen = [];
    let output = false;
    for (const part of parts.slice(0, last + 1)) {
      if (part.code) output = output || part.element !== null;
      if (part.element && (part.code || output)) chosen.push(part);
    }
    // What you should see, and the question about it
    let index = 0;
    for (const part of following(root)) {
      if (index++ <= last) continue;
      if (part.code || part.heading) break;
      chosen.push(part);
    }
    return chosen;
  }

  function update() {
    for (const root of document.querySelectorAll(".cnncourse-predict[data-ready]")) {
      const answered = load(root.dataset.key) !== null;
      if (answered) {
        for (const element of document.querySelectorAll(".cnncourse-covered")) {
          if (element.dataset.coveredBy === root.dataset.key) {
            element.classList.remove("cnncourse-covered", "cnncourse-covered-text");
            delete element.dataset.coveredBy;
            delete element.dataset.covered;
          }
        }
        continue;
      }
      for (const part of covered(root)) {
        if (part.element.dataset.coveredBy) continue;
        const first = !document.querySelector('.cnncourse-covered[data-covered-by="' + root.dataset.key + '"]');
        part.element.dataset.coveredBy = root.dataset.key;
        part.element.dataset.covered = first ? "first" : "more";
        part.element.classList.add("cnncourse-covered");
        if (!part.code) part.element.classList.add("cnncourse-covered-text");
      }
    }
    document.querySelectorAll(".cnncourse-measured").forEach(compare);
  }

  function compare(box) {
    const answer = load(box.dataset.key);
    const yours = box.querySelector(".yours"), verdict = box.querySelector(".verdict");
    yours.hidden = !answer || answer.choice === null;
    verdict.hidden = yours.hidden;
    if (yours.hidden) return;
    const text = JSON.stringify(answer);
    if (yours.dataset.shown !== text) yours.querySelector("dd").replaceChildren(...words(box.dataset.key, answer));
    yours.dataset.shown = text;
    const letter = /^[a-z]$/.test(box.dataset.answer);
    const word = !letter ? "" : answer.choice === box.dataset.answer ? "As you predicted." : "Not as you predicted: which part of the reason does not hold?";
    if (verdict.textContent !== word) verdict.textContent = word;
    verdict.hidden = !word;
  }

  // A prediction in words; the option is copied from the form, where its maths is typeset.
  function words(key, answer) {
    const form = document.querySelector('.cnncourse-predict[data-key="' + key + '"]');
    const input = form && form.querySelector('input[type="radio"][value="' + answer.choice + '"]');
    const text = input ? Array.from(input.nextElementSibling.cloneNode(true).childNodes) : [answer.text];
    return answer.why ? text.concat(document.createElement("br"), "Your reason: " + answer.why) : text;
  }

  function prepare(root) {
    root.dataset.ready = "true";
    const key = root.dataset.key;
    const find = (selector) => root.querySelector(selector);
    const why = find("textarea"), state = find(".state"), again = find(".again");
    const inputs = Array.from(root.querySelectorAll("fieldset input"));

    function show() {
      const answer = load(key);
      find("fieldset").disabled = answer !== null;
      find(".why").hidden = find(".buttons").hidden = answer !== null;
      again.hidden = answer === null;
      if (answer === null) state.textContent = "";
      else if (answer.choice === null) state.textContent = "Shown without a prediction.";
      else state.replaceChildren("You predicted: ", ...words(key, answer));
      for (const input of inputs) {
        if (input.type === "radio") input.checked = answer !== null && answer.choice === input.value;
        else input.value = answer && answer.choice !== null ? answer.choice : "";
      }
    }

    function commit() {
      const input = inputs.find((one) => (one.type === "radio" ? one.checked : one.value !== ""));
      if (!input) {
        state.textContent = "Choose an answer first.";
        inputs[0].focus();
        return;
      }
      const text = input.type === "radio" ? input.dataset.text : input.value + " " + input.dataset.unit;
      save(key, { choice: input.value, text: text.trim(), why: why.value.trim() });
      finish();
    }

    function finish() {
      show();
      update();
      state.focus({ preventScroll: true }); // the button that had the focus is gone
    }

    find(".commit").addEventListener("click", commit);
    find(".skip").addEventListener("click", () => { save(key, { choice: null, text: "", why: "" }); finish(); });
    again.querySelector("button").addEventListener("click", () => { save(key, null); show(); update(); inputs[0].focus(); });
    root.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.type === "number") commit();
    });
    show();
  }

  let watched = null, waiting = false;
  function start() {
    document.querySelectorAll(".cnncourse-predict:not([data-ready])").forEach(prepare);
    update();
    // In a live notebook cells come later, and outputs are drawn anew
    const notebook = document.querySelector(".jp-Notebook");
    if (notebook && notebook !== watched) {
      watched = notebook;
      new MutationObserver(() => {
        if (waiting) return;
        waiting = true;
        setTimeout(() => { waiting = false; document.querySelectorAll(".cnncourse-predict:not([data-ready])").forEach(prepare); update(); }, 50);
      }).observe(notebook, { childList: true, subtree: true });
    }
  }

  window.cnncoursePredict = { start };
  start();
  // While a page is read, a later box may be there in part; JupyterLab runs a script before it attaches the output.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else setTimeout(start, 300);
})();
