// Notes and disposition. What somebody has typed is never overwritten by what is told meanwhile.

import { ask, get } from "./api.js";
import { el, setText } from "./dom.js";
import * as session from "./session.js";

const FIELDS = ["disposition", "notes"];

export class EditForm {
  constructor(app, id, onSaved) {
    Object.assign(this, { app, id, onSaved });
    const allowed = session.allows("calls:write");
    this.disposition = el("input", { id: "disposition", maxlength: "64", autocomplete: "off", list: "codes", readonly: !allowed });
    this.notes = el("textarea", { id: "notes", rows: "5", maxlength: "10000", readonly: !allowed });
    this.codes = el("datalist", { id: "codes" });
    this.words = el("p", { class: "saved", role: "status" });
    this.button = el("button", { type: "submit", class: "primary" }, "Save");
    this.back = el("button", { type: "button", hidden: true, on: { click: () => this.discard() } }, "Discard");
    this.element = el(
      "form",
      { class: "edit", on: { submit: (event) => this.save(event), input: () => this.typed() } },
      el("label", { for: "disposition" }, "Disposition"),
      this.disposition,
      this.codes,
      el("label", { for: "notes" }, "Notes"),
      this.notes,
      el("p", { class: "buttons" }, this.back, allowed ? this.button : null),
      this.words,
    );
    this.known = { disposition: "", notes: "" };
    this.mayEdit = allowed;
    this.begun = false;
  }

  show(call) {
    const dirty = this.begun && this.dirty;
    this.known = { disposition: call.disposition ?? "", notes: call.notes ?? "" };
    if (!this.begun) this.suggest(call);
    const draft = this.app.drafts.get(this.id);
    if (!dirty) this.fill(!this.begun && draft ? draft : this.known);
    this.begun = true;
    this.mark();
    if (!this.mayEdit) setText(this.words, "To change this, sign in with a key that has the scope calls:write.");
  }

  fill(values) {
    for (const name of FIELDS) {
      if (this[name].value !== values[name]) this[name].value = values[name];
    }
  }

  get dirty() {
    return FIELDS.some((name) => this[name].value !== this.known[name].replaceAll("\r\n", "\n"));
  }

  typed() {
    this.mark();
    setText(this.words, this.dirty ? "Not saved yet." : "");
  }

  mark() {
    const { dirty } = this;
    if (dirty) this.app.drafts.set(this.id, { disposition: this.disposition.value, notes: this.notes.value });
    else this.app.drafts.delete(this.id);
    this.button.disabled = !dirty;
    this.back.hidden = !dirty;
  }

  discard() {
    this.fill(this.known);
    this.typed();
    this.notes.focus();
  }

  async save(event) {
    event.preventDefault();
    if (!this.dirty || this.button.disabled) return;
    const changes = {};
    for (const name of FIELDS) {
      const value = name === "disposition" ? this[name].value.trim() : this[name].value;
      if (value !== this.known[name]) changes[name] = value === "" ? null : value;
    }
    if (!Object.keys(changes).length) return this.discard();
    this.button.disabled = true;
    setText(this.words, "Saving…");
    for (const name of FIELDS) this[name].readOnly = true;
    try {
      const call = await ask("PATCH", `v1/calls/${this.id}`, { body: changes });
      this.known = { disposition: call.disposition ?? "", notes: call.notes ?? "" };
      this.fill(this.known);
      this.mark();
      setText(this.words, "Saved.");
      this.onSaved(call);
    } catch (error) {
      this.mark();
      setText(this.words, `Not saved: ${error.words}`);
    } finally {
      for (const name of FIELDS) this[name].readOnly = false;
    }
  }

  /** The codes of the call's campaign, to choose from. */
  async suggest(call) {
    if (call.campaign_id === null || !session.allows("campaigns:read")) return;
    try {
      const campaign = await get(`v1/campaigns/${encodeURIComponent(call.campaign_id)}`);
      this.codes.replaceChildren(...(campaign.dispositions ?? []).map((code) => el("option", { value: code })));
    } catch {
      // Any code can be typed.
    }
  }
}
