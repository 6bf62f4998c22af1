"use strict";
// Charts by uPlot: how connections ended over time, and how long silences are survived.
(() => {
  const { data, byId, colour, span, tick } = LW;
  const FAMILY_COLOURS = { "closed in order": "data", reset: "bad", "gave up or went silent": "warn", "never established": "quiet", "open at the end": "open" };
  const made = [];

  const axis = (more = {}) => ({ stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, ...more });
  const widthOf = (place) => Math.max(240, place.clientWidth);

  function closes() {
    const place = byId("chart-closes");
    const over = data.over_time;
    if (!place || over.at.length === 0) return;
    // Bars stand on each other: each series is drawn from the sum with those before it, the largest first.
    const sums = [];
    over.counts.forEach((one, at) => sums.push(one.values.map((value, k) => value + (at ? sums[at - 1][k] : 0))));
    const order = over.counts.map((_, at) => at).reverse();
    const bars = uPlot.paths.bars({ size: [0.9, 100], align: 1 });
    made.push([place, new uPlot({
      width: widthOf(place), height: 220,
      scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(1, high)] } },
      axes: [axis({ space: 90, values: (_, ticks) => ticks.map(tick) }), axis({ size: 60 })],
      series: [{ label: "from", value: (_, value) => (value === null ? "" : span(value)) }, ...order.map((at) => ({
        label: over.counts[at].name,
        fill: colour(FAMILY_COLOURS[over.counts[at].name] || "data"),
        stroke: colour(FAMILY_COLOURS[over.counts[at].name] || "data"),
        paths: bars, points: { show: false },
        value: (_, value, __, index) => (index === null || index === undefined ? "" : over.counts[at].values[index].toLocaleString("en")),
      }))],
    }, [over.at, ...order.map((at) => sums[at])], place)]);
  }

  function curve(place) {
    const one = data.curves[Number(place.dataset.curve)];
    const timeouts = data.timeouts.filter((row) => row.endpoint === one.endpoint && row.value_s !== null);
    const known = (chart) => { // inferred timeouts of this server, as lines from top to bottom
      const context = chart.ctx;
      context.save();
      context.strokeStyle = context.fillStyle = colour("bad");
      context.lineWidth = devicePixelRatio;
      context.font = 11 * devicePixelRatio + "px system-ui, sans-serif";
      for (const row of timeouts) {
        const x = chart.valToPos(row.value_s, "x", true);
        context.beginPath();
        context.moveTo(x, chart.bbox.top);
        context.lineTo(x, chart.bbox.top + chart.bbox.height);
        context.stroke();
        context.fillText(span(row.value_s), x + 4, chart.bbox.top + 12 * devicePixelRatio);
      }
      context.restore();
    };
    made.push([place, new uPlot({
      width: widthOf(place), height: 180, legend: { show: true },
      scales: { x: { time: false, range: (_, low, high) => [0, high * 1.03 || 1] }, y: { range: [0, 1.02] } },
      axes: [axis({ space: 70, values: (_, ticks) => ticks.map(tick) }), axis({ values: (_, ticks) => ticks.map((share) => Math.round(share * 100) + " %"), size: 55 })],
      series: [{ label: "silence", value: (_, value) => (value === null ? "" : span(value)) }, {
        label: "survived", stroke: colour("data"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: one.at_s.length < 40 },
        value: (_, value) => (value === null ? "" : (value * 100).toFixed(1) + " %"),
      }],
      hooks: { draw: [known] },
    }, [one.at_s, one.share], place)]);
  }

  closes();
  document.querySelectorAll("[data-curve]").forEach(curve);
  LW.redraw.push(() => { for (const [place, chart] of made) chart.setSize({ width: widthOf(place), height: chart.height }); });
  // Colours are read when a chart is made, so a change of light and dark makes them anew.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [, chart] of made.splice(0)) chart.destroy();
    closes();
    document.querySelectorAll("[data-curve]").forEach(curve);
  });
})();
