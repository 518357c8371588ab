// Runs jupyterquiz inside a function of its own, and mends what it lacks for keyboards and screen readers.
(function () {
  function start(tries) {
    var root = document.querySelector('.cnncourse-quiz[data-quiz="NAME"]:not([data-ready])');
    if (!root) { // JupyterLab runs a script before it attaches the output
      if (tries > 0) setTimeout(start, 100, tries - 1);
      return;
    }
    var seed = 7 + document.querySelectorAll('[data-quiz="NAME"][data-ready]').length; // the same quiz in a second view
    for (var i = 0; i < "NAME".length; i++) seed = (seed * 31 + "NAME".charCodeAt(i)) % 2147483647;
    root.dataset.ready = "true";
    // Names that jupyterquiz looks up. Without this MathJax it would load one from another host when the page's own is
    // late; the page's own typesets here as everywhere. Its ids are the same on every visit. Its log is not needed.
    var NAME = root.querySelector("#NAME"), MathJax;
    var console = { log: function () {}, error: window.console.error.bind(window.console) };
    var Math = Object.create(window.Math, {
      random: { value: function () { seed = (seed * 48271) % 2147483647; return seed / 2147483647; } },
    });
    /* jupyterquiz */
    mend(root, check_numeric);
  }

  function mend(root, checkNumber) {
    var texts = Array.from(root.querySelectorAll(".unfolding .question"));
    root.querySelectorAll(".unfolding details > p").forEach(function (text) { text.dataset.source = plain(text); });
    Array.from(root.querySelectorAll(".Quiz")).forEach(function (quiz, index) {
      var feedback = quiz.querySelector(".Feedback"), answers = quiz.querySelector(".Answer"), question = quiz.firstElementChild;
      var inputs = Array.from(answers.querySelectorAll("input"));
      feedback.setAttribute("role", "status");
      question.firstElementChild.classList.add("text");
      answers.setAttribute("aria-labelledby", question.id);
      if (quiz.querySelector(".Input-text")) number(answers, inputs[0], checkNumber);
      else choices(answers, inputs, feedback.dataset.numcorrect > 1);
      new MutationObserver(function () { typeset(feedback, texts[index]); }).observe(feedback, { childList: true });
    });
  }

  function choices(answers, inputs, several) {
    answers.setAttribute("role", several ? "group" : "radiogroup");
    inputs.forEach(function (input, index) {
      input.className = "";
      if (several) input.type = "checkbox";
      // An arrow would choose, and so answer; it only moves. Space chooses.
      input.addEventListener("keydown", function (event) {
        var step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
        if (event.key === "Enter") input.click();
        if (!step) return;
        event.preventDefault();
        inputs[(index + step + inputs.length) % inputs.length].focus();
      });
    });
    // A click on a label arrives twice, once for its input: the second is enough.
    answers.addEventListener("click", function (event) {
      if (event.target.tagName !== "INPUT") event.stopPropagation();
    }, true);
    if (several) answers.addEventListener("click", function () {
      setTimeout(function () {
        inputs.forEach(function (input) { input.checked = /correctButton/.test(input.closest("label").className); });
      });
    });
  }

  function number(answers, input, checkNumber) {
    var label = answers.querySelector("label"), button = document.createElement("button");
    label.htmlFor = input.id;
    label.textContent = "Your number:";
    input.inputMode = "decimal";
    input.autocomplete = "off";
    input.onpaste = null;
    input.addEventListener("keydown", function (event) { // an empty field counts as 0
      if (event.key === "Enter" && input.value.trim() === "") event.preventDefault();
    });
    button.type = "button";
    button.textContent = "Check";
    button.addEventListener("click", function () {
      if (input.value.trim() !== "") checkNumber(input, { keyCode: 13 });
    });
    answers.append(button);
  }

  function plain(node) { return node.textContent.replace(/\s+/g, ""); }

  // Maths in feedback: by the page's MathJax, or as JupyterLab has typeset it in the unfolding answers.
  function typeset(feedback, text) {
    if (!/\\\(/.test(feedback.textContent)) return;
    if (window.MathJax && window.MathJax.typesetPromise) {
      window.MathJax.typesetPromise([feedback]);
      return;
    }
    var count = feedback.textContent.match(/ \[\d+\/\d+\]$/); // of those to choose, added by jupyterquiz
    Array.from(text.querySelectorAll("details > p")).some(function (same) {
      if (plain(feedback).indexOf(same.dataset.source) !== 0) return false;
      if (/\\\(/.test(same.textContent)) return true; // nobody has typeset it: it stays as it is
      feedback.replaceChildren.apply(feedback, Array.from(same.cloneNode(true).childNodes));
      if (count) feedback.append(count[0]);
      return true;
    });
  }

  start(50);
})();
