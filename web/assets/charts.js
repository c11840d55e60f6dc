// Charts over time, drawn by Chart.js where the server has it; panels show tables otherwise.

import { h, renew, setStyle } from "./dom.js";
import { axisByUnit, byUnit } from "./format.js";
import { axisLabels, bucketStarts, bucketText } from "./time.js";

/** Whether charts can be drawn. */
export function hasCharts() {
  return typeof globalThis.Chart === "function";
}

/** A colour of the style sheet, such as `--series-1`. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A colour with an opacity from 0 to 1; colours of the style sheet are `#rrggbb`. */
export function faded(hex, opacity) {
  return hex + Math.round(opacity * 255).toString(16).padStart(2, "0");
}

/** The colour of a status class. */
export function statusColour(value) {
  const first = String(value ?? "").charAt(0);
  return "12345".includes(first) && first !== "" ? `--status-${first}` : "--series-other";
}

/** The colours of groups, in order of their rank. */
export const seriesColours = [1, 2, 3, 4, 5, 6].map((number) => `--series-${number}`);

/**
 * Rows by bucket on a gapless axis: `starts` and, by key of a series, an array of rows (or undefined).
 */
export function align(answer, keyOf = () => "") {
  const zone = answer.tz;
  const times = answer.rows.map((row) => Date.parse(row.bucket));
  const starts = bucketStarts(answer.granularity, Date.parse(answer.from), Date.parse(answer.to), zone, times);
  const places = new Map(starts.map((start, index) => [start, index]));
  const series = new Map();
  answer.rows.forEach((row, index) => {
    const key = keyOf(row);
    if (!series.has(key)) series.set(key, new Array(starts.length));
    series.get(key)[places.get(times[index])] = row;
  });
  return { starts, series, step: answer.granularity, zone, to: Date.parse(answer.to) };
}

/** Chart.js without animation, in the page's type. */
function configure() {
  const defaults = globalThis.Chart.defaults;
  defaults.animation = false;
  defaults.responsive = true;
  defaults.maintainAspectRatio = false;
  defaults.font.family = getComputedStyle(document.body).fontFamily;
}

/**
 * A chart over buckets with a legend, drawn anew by `draw`.
 *
 * `onRange(from, to)` is called with the buckets (indices) that a pointer has dragged over.
 */
export class TimeChart {
  #chart = null;
  #canvas = h("canvas", { role: "img" });
  #selection = h("div", { class: "chart-selection", hidden: true });
  #legend = h("div", { class: "legend" });
  #hidden = new Set();
  #last = null;
  #axis = null;
  #onRange;

  constructor({ onRange, tall = false } = {}) {
    this.#onRange = onRange;
    this.element = h("div", { class: "chart" }, this.#legend,
      h("div", { class: tall ? "chart-area tall" : "chart-area" }, this.#canvas, this.#selection));
    if (onRange) this.#listen();
  }

  /**
   * Draws series of `{ label, colour, values, kind, dashed, fill, stack, unit, axis }`; colours are
   * names of the style sheet, `values` one per bucket.
   */
  draw({ axis, series, unit = "count", stacked = false, label }) {
    this.#last = { axis, series, unit, stacked, label };
    this.#axis = axis;
    this.#canvas.setAttribute("aria-label", label);
    this.#drawLegend(series);
    const data = this.#data(series);
    const options = this.#options(axis, series, unit, stacked);
    if (this.#chart) {
      this.#chart.data = data;
      this.#chart.options = options;
      this.#chart.update("none");
      return;
    }
    configure();
    // The size follows the element, so it has to be on the page by now.
    this.#chart = new globalThis.Chart(this.#canvas, { type: "bar", data, options });
  }

  /** Draws the same again, for a change of theme. */
  redraw() {
    if (this.#last) this.draw(this.#last);
  }

  /** Frees what the library holds. */
  destroy() {
    this.#chart?.destroy();
    this.#chart = null;
  }

  #drawLegend(series) {
    renew(this.#legend, series.filter((one) => !one.isBand).map((one) => {
      const swatch = h("span", { class: one.dashed ? "swatch dashed" : "swatch" });
      setStyle(swatch, { "--swatch": `var(${one.colour})` });
      const toggle = () => {
        if (!this.#hidden.delete(one.label)) this.#hidden.add(one.label);
        this.redraw();
      };
      return h("button", {
        type: "button", class: "legend-entry", "aria-pressed": String(!this.#hidden.has(one.label)), onclick: toggle,
        title: "Show or hide",
      }, swatch, one.label);
    }));
  }

  #data(series) {
    return {
      labels: this.#axis.starts.map(String),
      datasets: series.map((one, index) => {
        const hex = colour(one.colour);
        const isLine = one.kind === "line";
        return {
          type: isLine ? "line" : "bar",
          label: one.label,
          data: one.values,
          hidden: this.#hidden.has(one.label),
          order: isLine ? index : 100 + index,
          stack: one.stack ?? (isLine ? `line-${index}` : "bars"),
          yAxisID: one.axis ?? "y",
          borderColor: one.dashed ? faded(hex, 0.75) : hex,
          backgroundColor: one.fill ? faded(hex, one.opacity ?? 0.14) : hex,
          fill: one.fill ?? false,
          borderWidth: isLine ? (one.width ?? 1.75) : 0,
          borderDash: one.dashed ? [4, 4] : [],
          borderJoinStyle: "round",
          pointRadius: isLine ? lonely(one.values) : 0,
          pointHoverRadius: isLine ? 3.5 : 0,
          pointBackgroundColor: hex,
          pointBorderWidth: 0,
          pointHitRadius: 0,
          tension: 0,
          spanGaps: false,
          categoryPercentage: 1,
          barPercentage: this.#axis.starts.length > 200 ? 1 : 0.82,
          maxBarThickness: 48,
        };
      }),
    };
  }

  #options(axis, series, unit, stacked) {
    const [ink, line] = [colour("--ink-3"), colour("--line")];
    const size = 0.75 * Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
    const width = this.element.clientWidth || 600;
    const labels = axisLabels(axis.starts, axis.step, axis.zone, Math.max(3, Math.floor(width / 72)));
    const second = series.find((one) => one.axis === "y2");
    const value = (axisUnit, position) => ({
      position, beginAtZero: true, stacked, grace: "4%",
      border: { display: false },
      grid: { color: line, drawBorder: false, display: position === "left", drawTicks: false },
      ticks: {
        color: ink, font: { size }, maxTicksLimit: 5, padding: 8,
        callback: (number) => axisByUnit(axisUnit, number),
        precision: axisUnit === "count" ? 0 : undefined,
      },
    });
    return {
      events: ["mousemove", "mouseout", "touchstart", "touchmove"],
      interaction: { mode: "index", intersect: false },
      layout: { padding: { top: 4, right: second ? 0 : 8 } },
      scales: {
        x: {
          stacked: true,
          offset: true,
          grid: { display: false, drawBorder: true, borderColor: line },
          ticks: {
            color: ink, font: { size }, autoSkip: false, maxRotation: 0, padding: 4,
            callback: (_, index) => labels[index],
          },
        },
        y: value(unit, "left"),
        ...(second ? { y2: value(second.unit, "right") } : {}),
      },
      plugins: {
        legend: { display: false },
        tooltip: this.#tooltip(axis, series, unit, size),
      },
    };
  }

  #tooltip(axis, series, unit, size) {
    return {
      backgroundColor: colour("--tooltip"), titleColor: colour("--tooltip-ink"), bodyColor: colour("--tooltip-ink"),
      titleFont: { size, weight: "600" }, bodyFont: { size }, padding: 10, cornerRadius: 6, boxPadding: 5,
      boxWidth: 8, boxHeight: 8, usePointStyle: true, caretSize: 0, caretPadding: 12,
      filter: (item) => !series[item.datasetIndex].isBand && item.raw !== null && item.raw !== undefined
        && !(item.raw === 0 && series[item.datasetIndex].kind !== "line" && series.length > 3),
      callbacks: {
        title: (items) => (items.length > 0 ? bucketText(axis.starts[items[0].dataIndex], axis.step, axis.zone) : ""),
        label: (item) => {
          const one = series[item.datasetIndex];
          return ` ${one.label}  ${byUnit(one.unit ?? unit, one.shown ? one.shown[item.dataIndex] : item.raw)}`;
        },
        labelColor: (item) => {
          const hex = colour(series[item.datasetIndex].colour);
          return { borderColor: hex, backgroundColor: hex };
        },
        labelPointStyle: () => ({ pointStyle: "rectRounded", rotation: 0 }),
      },
    };
  }

  // A drag over the chart chooses a range; a click alone does nothing.
  #listen() {
    let start = null;
    const within = (event) => {
      const area = this.#chart?.chartArea;
      if (!area) return null;
      const x = event.clientX - this.#canvas.getBoundingClientRect().left;
      return Math.min(Math.max(x, area.left), area.right);
    };
    this.#canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      start = within(event);
      if (start !== null) this.#canvas.setPointerCapture(event.pointerId);
    });
    this.#canvas.addEventListener("pointermove", (event) => {
      const end = within(event);
      if (start === null || end === null) return;
      this.#selection.hidden = Math.abs(end - start) < 5;
      setStyle(this.#selection, { left: `${Math.min(start, end)}px`, width: `${Math.abs(end - start)}px` });
    });
    this.#canvas.addEventListener("pointerup", (event) => {
      const end = within(event);
      const from = start;
      start = null;
      this.#selection.hidden = true;
      if (from === null || end === null || Math.abs(end - from) < 5) return;
      const scale = this.#chart.scales.x;
      const last = this.#axis.starts.length - 1;
      const index = (x) => Math.min(Math.max(scale.getValueForPixel(x), 0), last);
      const [first, final] = [index(Math.min(from, end)), index(Math.max(from, end))];
      this.#onRange(this.#axis.starts[first], this.#axis.starts[final + 1] ?? this.#axis.to);
    });
    this.#canvas.addEventListener("pointercancel", () => {
      start = null;
      this.#selection.hidden = true;
    });
  }
}

/** Radius of a line's points: only those without neighbours are drawn, for no line shows them. */
function lonely(values) {
  const known = (index) => values[index] !== null && values[index] !== undefined;
  return values.map((_, index) => (known(index) && !known(index - 1) && !known(index + 1) ? 2 : 0));
}
