// The page: who is signed in, which view is shown, and what is common to all of them.

import { get } from "./api.js";
import { CallView } from "./call.js";
import { CallsView } from "./calls.js";
import { Connection } from "./connection.js";
import { el, setText } from "./dom.js";
import { HealthView } from "./health.js";
import { LiveBook } from "./live.js";
import { NowView } from "./now.js";
import * as session from "./session.js";
import { SignIn } from "./signin.js";

const DRAW_MS = 250;
// Drawing takes a tenth of the time at most, however much there is to draw.
const DRAW_SHARE = 10;

const byId = (id) => document.getElementById(id);
const main = byId("main");

const ROUTES = [
  [/^\/?$/, "now", NowView],
  [/^\/calls$/, "calls", CallsView],
  [/^\/calls\/([0-9a-fA-F-]{36})$/, "calls", CallView],
  [/^\/health$/, "health", HealthView],
];

class App {
  constructor() {
    this.book = new LiveBook();
    this.view = null;
    this.drafts = new Map();
    this.connection = new Connection(this.book, {
      onEvent: (event) => this.view?.event?.(event),
      onChange: () => this.showState(),
      onRefused: (words) => this.signOut(words),
    });
  }

  async begin() {
    byId("skip").addEventListener("click", (event) => {
      event.preventDefault();
      main.focus();
    });
    byId("sign-out").addEventListener("click", () => this.signOut());
    window.addEventListener("hashchange", () => this.route());
    window.addEventListener("beforeunload", (event) => this.drafts.size && event.preventDefault());
    setInterval(() => this.tick(), 1000);
    this.draw();
    if (!session.key()) return this.showSignIn();
    try {
      const { scopes } = await get("v1/key");
      this.signedIn(session.key(), scopes);
    } catch (error) {
      // Only a key that is refused is forgotten: the database may be away, or callengine be starting.
      if (error.status === 401) session.signOut();
      this.showSignIn(error.words, session.key());
    }
  }

  // -- who is signed in ---------------------------------------------------------------------------------------------

  showSignIn(words = "", text = "") {
    this.leave();
    this.routed = true;
    for (const id of ["nav", "link", "sign-out"]) byId(id).hidden = true;
    byId("banner").hidden = true;
    document.title = "callengine: sign in";
    this.view = new SignIn((key, scopes) => this.signedIn(key, scopes));
    this.view.mount(main, words, text);
  }

  signedIn(key, scopes) {
    session.signIn(key, scopes);
    for (const id of ["nav", "link", "sign-out"]) byId(id).hidden = false;
    this.connection.start();
    this.route();
  }

  signOut(words = "You are signed out.") {
    session.signOut();
    this.connection.stop();
    this.drafts.clear();
    this.showSignIn(words);
  }

  // -- views --------------------------------------------------------------------------------------------------------

  leave() {
    this.view?.leave?.();
    this.view = null;
    main.replaceChildren();
  }

  route() {
    if (!session.key() || this.connection.state === "off") return;
    const hash = location.hash.replace(/^#/, "");
    if (hash && !hash.startsWith("/")) return;
    const [path, query = ""] = hash.split("?");
    const params = new URLSearchParams(query);
    for (const [pattern, name, View] of ROUTES) {
      const match = pattern.exec(path);
      if (match === null) continue;
      for (const link of byId("nav").querySelectorAll("[data-view]")) {
        if (link.dataset.view === name) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      // The same view with another query keeps its fields, and the place where somebody is.
      if (this.view instanceof View && this.view.follow?.(match.slice(1), params)) return;
      this.leave();
      this.view = new View(this);
      this.view.mount(main, match.slice(1), params);
      // A page that was just loaded is begun at its top.
      if (this.routed) this.focusHeading();
      this.routed = true;
      return;
    }
    location.replace("#/");
  }

  /** A new view begins at its heading, for those who do not see that it changed. */
  focusHeading() {
    const heading = main.querySelector("h1");
    window.scrollTo(0, 0);
    if (heading === null) return;
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }

  title(text) {
    this.titled = text;
    document.title = `${text} · callengine`;
  }

  /** Says something to those who listen to the page. */
  announce(text) {
    const announcer = byId("announcer");
    announcer.textContent = "";
    // A screen reader tells what changes after it was empty.
    setTimeout(() => setText(announcer, text), 50);
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  draw() {
    const began = performance.now();
    this.book.sweep();
    if (!document.hidden) {
      this.view?.draw?.();
      this.showCount();
    }
    const tookMs = performance.now() - began;
    setTimeout(() => requestAnimationFrame(() => this.draw()), Math.max(DRAW_MS, tookMs * DRAW_SHARE));
  }

  tick() {
    if (document.hidden || this.connection.state === "off") return;
    this.view?.tick?.();
    if (this.connection.state === "lost") this.showState();
  }

  showCount() {
    const count = byId("live-count");
    const { total } = this.book.counts();
    count.hidden = !this.book.loaded;
    setText(count, total.toLocaleString());
  }

  showState() {
    const { connection } = this;
    const link = byId("link");
    link.dataset.light = connection.light();
    setText(byId("link-text"), connection.word());
    const banner = byId("banner");
    const trouble = connection.trouble();
    if (trouble === null && connection.state === "live") connection.recovered();
    banner.hidden = trouble === null;
    setText(banner, trouble ?? "");
    this.view?.state?.();
  }

  /** What a view shows where it could not read what it shows. */
  fault(error, again) {
    return el(
      "div",
      { class: "fault", role: "alert" },
      el("p", {}, error.words ?? "Something went wrong in this page."),
      error.status === 404 ? null : el("button", { type: "button", on: { click: again } }, "Try again"),
    );
  }
}

new App().begin();
