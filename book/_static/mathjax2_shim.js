// The widget manager still calls MathJax 2's queue (ipywidgets issue 3829); hand its elements to MathJax 3.
// On a page without MathJax nothing is defined: quizzes test for the name and would call what is not there.
(function () {
  var mathjax = window.MathJax;
  if (!mathjax || mathjax.Hub || !mathjax.startup || !mathjax.typesetPromise) return;
  mathjax.Hub = {
    Queue: function (command) {
      var element = command && command[2];
      if (!element) return;
      mathjax.startup.promise.then(function () { return mathjax.typesetPromise([element]); });
    },
  };
})();
