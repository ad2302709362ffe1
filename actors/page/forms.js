// What the forms of the page have in common.

import { isPeerName } from "./names.js";

export const NAME_TAKEN = "This name belongs to somebody else on this server. Choose another one.";
const NAME_RULE = "A name has 1 to 32 of the characters A-Z a-z 0-9 . _ -";

/**
 * Says while typing whether a field has the name of a peer.
 * @param {HTMLInputElement} field @param {HTMLElement} problem @returns {() => boolean} Whether it has now.
 */
export function checkName(field, problem) {
  const check = () => {
    problem.textContent = field.value === "" || isPeerName(field.value) ? "" : NAME_RULE;
    return isPeerName(field.value);
  };
  field.addEventListener("input", check);
  return check;
}

/** @param {string} form Its id. @param {() => void} action What to do instead of sending it. */
export function onSubmit(form, action) {
  document.getElementById(form).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}
