// The shop's script: page events, orders that are posted once, status that is live. Whatever a person reads stands in the
// page; this shows and hides it. It is set up by its own element: data-key (a browser key), data-ingress (an origin).
(() => {
  "use strict";
  const { key, ingress } = document.currentScript.dataset;
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root) => root.querySelectorAll(selector);
  const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
  const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

  // A browser that keeps nothing costs the memory of a visitor, and never an order.
  const read = (store, name) => {
    try {
      return window[store].getItem(name);
    } catch {
      return null;
    }
  };
  const keep = (store, name, value) => {
    try {
      value ? window[store].setItem(name, value) : window[store].removeItem(name);
    } catch {}
    return value;
  };

  // Page events: Segment's model, sent as text/plain, which needs no preflight. Who asks not to be followed is not.
  const followed = key && !navigator.globalPrivacyControl;
  const visitor = followed ? keep("localStorage", "mp.visitor", read("localStorage", "mp.visitor") || random()) : undefined;
  const utm = new URLSearchParams(location.search).get("utm_campaign");
  const campaign = keep("sessionStorage", "mp.campaign", utm || read("sessionStorage", "mp.campaign")) || undefined;
  const subject = document.body.dataset;
  const page = { path: subject.path || location.pathname, title: document.title, referrer: document.referrer };
  let events = [];
  const track = (event) =>
    followed && events.push({ messageId: random(), anonymousId: visitor, timestamp: new Date(), ...event });
  const flush = () => {
    const context = { page, campaign: campaign && { name: campaign } };
    const body = JSON.stringify({ writeKey: key, context, batch: events });
    if (events[0] && navigator.sendBeacon(ingress + "/v1/batch", body)) events = [];
  };
  track({ type: "page", name: subject.page });
  if (subject.sku) track({ type: "track", event: "Product Viewed", properties: { sku: subject.sku } });
  setTimeout(flush, 1000);
  document.addEventListener("visibilitychange", () => document.hidden && flush());

  // An order keeps its key until it is answered, also over a reload: however often it is sent, it is one order.
  const form = find("[data-mp-order]");
  if (form && key) {
    const { sku, price, currency } = form.dataset;
    const button = find("button", form);
    // The same article of another market is another order, with another key.
    const slot = "mp.order." + (form.elements.market ? form.elements.market.value : "") + "." + sku;
    let answered;
    const say = (what) => {
      button.disabled = what == "sending" || what == "busy";
      for (const said of all("[data-mp-say]", form)) said.hidden = said.dataset.mpSay != what;
    };
    const post = async (order) => {
      keep("sessionStorage", slot, JSON.stringify(order));
      for (let attempt = 0; ; attempt++) {
        say("sending");
        let answer, told;
        try {
          answer = await fetch(ingress + "/v1/orders", {
            method: "POST",
            body: order.body,
            headers: {
              authorization: "Bearer " + key,
              "content-type": "application/json",
              "idempotency-key": order.key,
            },
            signal: AbortSignal.timeout(20000),
          });
          told = await answer.json();
        } catch {}
        if (answer && answer.status < 500 && answer.status != 408 && answer.status != 429 && (told || !answer.ok)) {
          keep("sessionStorage", slot);
          if (answer.status != 202) {
            find("[data-mp-detail]", form).textContent = told ? told.detail : "";
            return say("refused");
          }
          answered = true;
          const wait = told.wait_s ? "&w=" + told.wait_s : "";
          return location.assign(told.status_url.replace("/v1/orders/", "/orders/") + wait);
        }
        // Not taken, or not known: the same again, later, and not all of us at once.
        const asked = +(answer && answer.headers.get("retry-after")) || Math.min(2 ** attempt, 30);
        const seconds = asked * (1 + Math.random() / 2);
        find("[data-mp-seconds]", form).textContent = Math.ceil(seconds);
        say("busy");
        await sleep(seconds);
      }
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (button.disabled) return;
      const quantity = +form.elements.quantity.value;
      const body = JSON.stringify({
        currency,
        lines: [{ sku, quantity, unit_price_minor: +price }],
        total_minor: quantity * price,
        attribution: { campaign, anonymous_id: visitor },
      });
      track({ type: "track", event: "Checkout Started", properties: { sku, quantity } });
      post({ key: random(), body, at: Date.now() });
    });
    // One that was under way when the page was loaded again, unless that is so long ago that nobody waits for it.
    const pending = JSON.parse(read("sessionStorage", slot));
    if (pending && Date.now() - pending.at < 600000) post(pending);
    // Back on this page as it was left: the next order is another one.
    addEventListener("pageshow", (event) => event.persisted && answered && say((answered = false)));
  }

  // An order's status, until nothing follows.
  const status = find("[data-mp-status]");
  if (status && !("terminal" in status.dataset)) {
    let over;
    const show = ({ state, reason, terminal }) => {
      over = terminal;
      status.dataset.state = state;
      for (const said of all("[data-is]", status)) said.hidden = !said.dataset.is.split(" ").includes(state);
      for (const said of all("[data-because]", status)) said.hidden = !reason || said.dataset.because != reason.code;
      find("[data-waiting]", status).hidden = state != "queued";
    };
    const follow = () => {
      const source = new EventSource(status.dataset.events);
      source.addEventListener("status", (event) => {
        show(JSON.parse(event.data));
        over && source.close();
      });
      // A stream that could not be opened is not tried again by the browser: ask once, then try again.
      source.onerror = async () => {
        if (source.readyState != 2) return;
        await sleep(2 + Math.random() * 3);
        const answer = await fetch(status.dataset.url).catch(() => {});
        if (answer && answer.ok) show(await answer.json());
        over || follow();
      };
    };
    follow();
    const wait = find("[data-mp-wait]", status);
    let left = wait && +wait.dataset.mpWait;
    const count = setInterval(() => {
      if (over || !(--left > 0)) clearInterval(count);
      if (!wait) return;
      find("b", wait).textContent = left > 10 ? Math.ceil(left / 5) * 5 : left;
      wait.hidden = left <= 0;
      find("[data-mp-late]", status).hidden = left > 0;
    }, 1000);
  }
})();
