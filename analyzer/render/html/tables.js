"use strict";
// Tables: those in the page can be sorted, long ones searched; the table of connections is made here, a page at a time.
(() => {
  const { flows, count, word, element, byId, span, size, matching, probes } = LW;
  const number = (text) => {
    const value = parseFloat(text.replace(/[,\s%]/g, ""));
    return Number.isNaN(value) ? null : value;
  };
  const compared = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : a < b ? -1 : 1); // missing last

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    heads.forEach((head, at) => {
      const text = head.textContent;
      const button = element("button", { type: "button", title: "sort by " + text }, text);
      head.replaceChildren(button);
      let down = !head.classList.contains("n");
      button.addEventListener("click", () => {
        down = !down;
        const numeric = head.classList.contains("n");
        const value = (row) => (numeric ? number(row.cells[at].textContent) : row.cells[at].textContent);
        const sign = numeric ? (down ? 1 : -1) : down ? -1 : 1;
        const rows = [...body.rows].map((row) => [value(row), row]);
        rows.sort((a, b) => (a[0] === null || b[0] === null ? compared(a[0], b[0]) : sign * compared(a[0], b[0])));
        body.replaceChildren(...rows.map((pair) => pair[1]));
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      });
    });
    const most = Number(table.dataset.page || Infinity);
    if (body.rows.length <= 12) return;
    const input = element("input", { type: "search", placeholder: "search this table", "aria-label": "Search this table" });
    const more = element("button", { type: "button" }, `show all ${body.rows.length}`);
    let all = body.rows.length <= most;
    const show = () => {
      const typed = input.value.toLowerCase();
      let shown = 0;
      for (const row of body.rows) {
        const fits = row.textContent.toLowerCase().includes(typed) && (all || typed !== "" || shown < most);
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      more.hidden = all;
    };
    input.addEventListener("input", show);
    more.addEventListener("click", () => { all = true; show(); });
    heads.forEach((head) => head.addEventListener("click", show));
    table.parentElement.before(element("div", { class: "bar" }, input));
    table.parentElement.after(more);
    show();
  }
  for (const table of document.querySelectorAll("table.data:not(#flow-table)")) sortable(table);

  // -------------------------------------------------------------------------------------- connections

  const coded = (name) => (row) => word(flows[name], row);
  const plain = (name) => (row) => flows[name][row];
  const COLUMNS = [
    ["flow", plain("flow_id"), String, "n"],
    ["client", coded("client")], ["server", coded("server")],
    ["start", plain("start_s"), (value) => value.toFixed(3), "n"],
    ["life", plain("duration_s"), span, "n"],
    ["silence", plain("max_payload_gap_s"), span, "n"],
    ["close kind", coded("close_kind")], ["by", coded("close_initiator")], ["trigger", coded("close_trigger")],
    ["sure", plain("close_confidence"), (value) => value.toFixed(2), "n"],
    ["protocol", coded("app_protocol")],
    ["name", (row) => word(flows.sni, row) || word(flows.http_host, row)],
    ["probes", probes, String, "n"],
    ["sent", plain("payload_bytes_c"), size, "n"], ["received", plain("payload_bytes_s"), size, "n"],
    ["verdict", coded("explanation"), String, "words"],
  ];
  const kind = coded("close_kind");
  const starts = (...words) => (row) => words.some((one) => (kind(row) || "").startsWith(one));
  const PRESETS = [
    ["all", () => true],
    ["reset", starts("rst_")],
    ["closed out of silence", (row) => starts("rst_", "fin_")(row) && word(flows.close_trigger, row) === "idle_timeout" || kind(row) === "rst_on_idle"],
    ["gave up", starts("abort_", "silent_death", "fin_unanswered")],
    ["open at the end", starts("open_", "half_closed_open")],
    ["never established", starts("refused", "handshake_aborted", "syn")],
    ["probed", (row) => probes(row) > 0],
    ["heartbeats", (row) => word(flows.heartbeat_kinds, row) !== null],
  ].filter(([name, wanted]) => name === "all" || flows.flow_id.some((_, row) => wanted(row)));

  const PAGE = 50;
  const state = { preset: 0, typed: "", column: null, down: false, shown: PAGE, rows: [] };
  const table = byId("flow-table");

  function choose() {
    const wanted = PRESETS[state.preset][1];
    state.rows = matching(state.typed).filter(wanted);
    if (state.column !== null) {
      const value = COLUMNS[state.column][1];
      const sign = state.down ? -1 : 1;
      state.rows.sort((a, b) => {
        const x = value(a), y = value(b);
        return (x === null || y === null ? compared(x, y) : sign * compared(x, y)) || a - b;
      });
    }
    state.shown = PAGE;
    render();
  }

  function cell(column, row) {
    const [name, value, words, look] = column;
    const found = value(row);
    if (name === "flow") {
      return element("td", { class: "n" }, element("a", { href: "#flow-" + found }, String(found)));
    }
    return element("td", { class: look || null }, found === null || found === undefined ? "" : (words || String)(found));
  }

  function render() {
    const rows = state.rows.slice(0, state.shown).map((row) =>
      element("tr", { onclick: () => { location.hash = "flow-" + flows.flow_id[row]; } }, ...COLUMNS.map((column) => cell(column, row))));
    table.tBodies[0].replaceChildren(...rows);
    byId("flow-count").textContent = state.rows.length.toLocaleString("en") + " of " + count.toLocaleString("en") + " connections";
    byId("flow-more").hidden = state.rows.length <= state.shown;
    [...table.tHead.rows[0].cells].forEach((head, at) => {
      if (at === state.column) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  table.tHead.append(element("tr", {}, ...COLUMNS.map(([name, , , look], at) =>
    element("th", { class: look || null }, element("button", {
      type: "button",
      title: "sort by " + name,
      onclick: () => { state.down = state.column === at ? !state.down : look === "n"; state.column = at; choose(); },
    }, name)))));
  PRESETS.forEach(([name], at) => byId("presets").append(element("button", {
    type: "button",
    "aria-pressed": String(at === 0),
    onclick: (event) => {
      state.preset = at;
      for (const other of byId("presets").children) other.setAttribute("aria-pressed", String(other === event.currentTarget));
      choose();
    },
  }, name)));
  byId("flow-search").addEventListener("input", (event) => { state.typed = event.target.value; choose(); });
  byId("flow-more").addEventListener("click", () => { state.shown += 4 * PAGE; render(); });
  for (const link of document.querySelectorAll("a[data-filter]")) {
    link.addEventListener("click", () => { byId("flow-search").value = state.typed = link.dataset.filter; choose(); });
  }
  choose();
})();
