"use strict";
// Shared by the other scripts: the data, and words and elements made of it. Text from the wire only ever becomes
// textContent; nothing here or there writes markup.
const LW = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const flows = data.flows;

  // A coded column holds each word once: {words, at}.
  const word = (column, row) => (column.at[row] < 0 ? null : column.words[column.at[row]]);
  const count = flows.flow_id.length;
  const rowOf = new Map(flows.flow_id.map((id, row) => [id, row]));

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  function drawn(name, attributes = {}, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const byId = (id) => document.getElementById(id);

  function span(seconds) {
    if (seconds === null || seconds === undefined) return "";
    if (seconds >= 7200) return (seconds / 3600).toFixed(1) + " h";
    if (seconds >= 100) return seconds.toFixed(1) + " s";
    if (seconds >= 0.1 || seconds === 0) return seconds.toFixed(3) + " s";
    return (seconds * 1000).toFixed(3) + " ms";
  }

  // A time on an axis, without digits that say nothing.
  const tick = (seconds) => (seconds === 0 ? "0" : Number(seconds.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 6 }) + " s");

  function size(bytes) {
    if (bytes === null || bytes === undefined) return "";
    for (const [unit, one] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
      if (bytes >= one) return (bytes / one).toFixed(1) + " " + unit;
    }
    return bytes + " B";
  }

  // All that the searches look into, in lower case, one text per connection; made when first needed.
  let searched = null;
  function searchText(row) {
    if (searched === null) {
      const names = ["client", "server", "app_protocol", "close_kind", "close_initiator", "close_trigger", "sni", "http_host", "heartbeat_kinds", "explanation"];
      searched = flows.flow_id.map((id, at) => ("flow " + id + " " + names.map((name) => word(flows[name], at) || "").join(" ")).toLowerCase());
    }
    return searched[row];
  }

  // Rows whose text has every word that was typed.
  function matching(typed) {
    const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [];
    for (let row = 0; row < count; row++) {
      if (words.every((one) => searchText(row).includes(one))) rows.push(row);
    }
    return rows;
  }

  const probes = (row) => (flows.keepalive_probes_c[row] || 0) + (flows.keepalive_probes_s[row] || 0);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  return { data, flows, count, rowOf, word, element, drawn, byId, span, tick, size, matching, probes, colour, redraw: [] };
})();
