// Signing in with a key. It stays in this tab.

import { get } from "./api.js";
import { el, setText } from "./dom.js";

export class SignIn {
  constructor(onSignedIn) {
    this.onSignedIn = onSignedIn;
  }

  mount(main, words, text) {
    this.field = el("input", {
      id: "key",
      type: "password",
      autocomplete: "off",
      autocapitalize: "none",
      spellcheck: "false",
      "aria-describedby": "key-help key-fault",
      placeholder: "ce_…",
    });
    this.field.value = text;
    this.words = el("p", { id: "key-fault", class: "wrong", role: "alert" }, words);
    this.button = el("button", { type: "submit", class: "primary" }, "Sign in");
    const form = el(
      "form",
      { class: "signin", novalidate: true, on: { submit: (event) => this.submit(event) } },
      el("h1", {}, "Sign in"),
      el("p", {}, "The calls of your FreeSWITCH, as they happen."),
      el("label", { for: "key" }, "API key"),
      this.field,
      this.words,
      this.button,
      el(
        "div",
        { id: "key-help", class: "help" },
        el("p", {}, "A key is made on the machine that callengine runs on:"),
        el(
          "pre",
          { tabindex: "0" },
          "callengine key create --tenant default \\\n  --scope calls:read --scope calls:write",
        ),
        el("p", {}, "It stays in this tab, and is forgotten when you close it or sign out."),
      ),
    );
    main.replaceChildren(form);
    this.field.focus();
  }

  async submit(event) {
    event.preventDefault();
    const key = this.field.value.trim();
    const fault = await this.#tried(key);
    if (fault === null) return;
    setText(this.words, fault);
    this.field.setAttribute("aria-invalid", "true");
    this.field.focus();
    this.field.select();
  }

  /** Words where the key is of no use, else null. */
  async #tried(key) {
    if (!key) return "Paste a key first.";
    if (!/^[!-~]+$/.test(key)) return "That is no key: it has characters that no key has.";
    this.button.disabled = true;
    setText(this.button, "Signing in…");
    try {
      const { scopes } = await get("v1/key", {}, { key });
      if (!scopes.includes("calls:read")) {
        return `This key lacks the scope calls:read, which this page needs. It has: ${scopes.join(", ")}.`;
      }
      this.onSignedIn(key, scopes);
      return null;
    } catch (error) {
      if (error.status === 401) return "This key is not known here. Is all of it there? It may also have been revoked.";
      if (error.status === 429) return "Too many wrong keys from here. Try again in a minute.";
      return error.words;
    } finally {
      this.button.disabled = false;
      setText(this.button, "Sign in");
    }
  }
}
