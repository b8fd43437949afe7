// What the pages need besides htmx: forms that are not sent twice, and a word when live updates have stopped.
// Everything works without this file too; then pages are read and reloaded like any others.
"use strict";

(() => {
  let sending = false;

  const say = (name) => {
    const notice = document.getElementById("notice");
    if (notice === null || (notice.dataset.says ?? "") === name) {
      return;
    }
    notice.dataset.says = name;
    const words = name === "" ? null : document.getElementById(`notice-${name}`);
    notice.replaceChildren(...(words === null ? [] : [words.content.cloneNode(true)]));
  };

  document.addEventListener("submit", (event) => {
    if (sending) {
      event.preventDefault();
      return;
    }
    sending = event.target.method === "post";
    const button = event.submitter;
    if (sending && button !== null && button.dataset.busy !== undefined) {
      // Not `disabled`: that would take the focus away from whoever pressed it with a key.
      button.setAttribute("aria-disabled", "true");
      button.textContent = button.dataset.busy;
    }
  });

  // Going back shows the page as it was left, with its button pressed and its news old.
  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      location.reload();
    }
  });

  document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail.ctx?.response?.status ?? 0;
    if (status === 401) {
      say("signed-out");
    } else {
      say(status >= 500 || status === 0 ? "unreachable" : "");
    }
  });
  document.addEventListener("htmx:error", () => say("unreachable"));
})();
