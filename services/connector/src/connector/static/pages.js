// What the pages need besides htmx: forms that are not sent twice, and a card that says when it is not up to date.
// Everything works without this file too; then pages are read and reloaded like any others.
"use strict";

(() => {
  const GIVE_UP_MS = 90_000;
  const QUIET_FAILURES = 1;
  let sending = false;
  let failures = 0;
  let focusWasInside = false;

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
    sending = true;
    const button = event.submitter;
    if (button !== null && button.dataset.busy !== undefined) {
      // Not `disabled`: that would take the focus away from whoever pressed it with a key.
      button.setAttribute("aria-disabled", "true");
      button.textContent = button.dataset.busy;
    }
    // Still here after so long, the answer was lost or the browser was stopped: look how it stands.
    setTimeout(() => location.reload(), GIVE_UP_MS);
  });

  // Going back shows the page as it was left, with its button pressed and its news old.
  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      location.reload();
    }
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden || sending) {
      event.preventDefault();
    }
  });

  document.addEventListener("visibilitychange", () => {
    const card = document.getElementById("card");
    if (!document.hidden && card !== null) {
      card.dispatchEvent(new Event("look"));
    }
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (sending) {
      event.detail.shouldSwap = false;
    }
    focusWasInside = document.getElementById("card")?.contains(document.activeElement) ?? false;
  });

  // htmx gives the focus back to what has the same id; when that is gone, it must not fall to the top of the page.
  document.addEventListener("htmx:afterSettle", () => {
    if (focusWasInside && document.activeElement === document.body) {
      document.getElementById("heading").focus();
    }
    focusWasInside = false;
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const status = event.detail.xhr.status;
    failures = status >= 200 && status < 500 ? 0 : failures + 1;
    if (status === 200 || status === 204) {
      say("");
    } else if (status === 401) {
      say("signed-out");
    } else if (status >= 400 && status < 500) {
      say("refused");
    } else if (failures > QUIET_FAILURES) {
      say("unreachable");
    }
  });
})();
