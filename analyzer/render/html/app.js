"use strict";
// Last: what waits for everything else.
(() => {
  let waiting = null;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => LW.redraw.forEach((draw) => draw()), 80);
  });
  LW.follow();
  document.documentElement.dataset.ready = "yes";
})();
