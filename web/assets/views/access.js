// How a customer asks the same questions with their own programs.

import { copy, h, replace } from "../dom.js";
import { Panel } from "../panel.js";
import { choices, view } from "../pieces.js";
import { command, curl, dimensionName, question, stepFor } from "../question.js";

/** The view. */
export function access(context) {
  const { catalogue } = context;
  const kinds = [
    ["route", "Usage by route", { groups: ["route"], order: "-requests", metrics: ["requests", "errors", "error_rate", "latency_p95"] }],
    ["time", "Usage over time", { isOverTime: true, metrics: ["requests", "errors", "bytes_out"] }],
    ["errors", "Errors by API", { groups: ["api", "status_class"], order: "-errors", metrics: ["errors", "requests", "error_rate"] }],
    ["latency", "Latency over time", { isOverTime: true, metrics: ["latency_p50", "latency_p95", "latency_p99"] }],
    ["key", "Usage by key", { groups: ["key"], order: "-requests", metrics: ["requests", "errors", "bytes_out"] }],
  ].filter(([, , kind]) => catalogue.covers(kind.groups ?? [], []));
  let kind = kinds[0][0];
  let format = "json";
  const kindChoice = choices("Question", kinds.map(([name, text]) => [name, text]), kind, (name) => {
    kind = name;
    kindChoice.draw(kind);
    panel.refresh();
  });
  const formatChoice = choices("Format", catalogue.meta.formats.map((name) => [name, name.toUpperCase()]), format, (name) => {
    format = name;
    formatChoice.draw(format);
    panel.refresh();
  });
  const panel = new Panel(context, {
    title: "Ask from your own programs", id: "access", className: "full",
    load: async (signal) => {
      const { isOverTime, ...rest } = kinds.find(([name]) => name === kind)[2];
      const parameters = question(context.state, {
        ...rest, step: isOverTime ? stepFor(context.state, catalogue) : "total", limit: 100,
      });
      const answer = await context.client.usage([...parameters.filter(([name]) => name !== "limit"), ["limit", "2"]], signal);
      return h("div", { class: "prose" },
        h("p", {}, "Everything on these pages comes from one endpoint, ", h("code", {}, "GET /v1/usage"),
          ". The commands below ask with the range, the zone and the filters that are chosen above. Put your token into the environment first; it is never part of an address:"),
        snippet(context, "export SLUICE_TOKEN=sluice_…"),
        h("div", { class: "panel-choices" }, kindChoice.element, formatChoice.element),
        h("h3", {}, "curl"),
        snippet(context, curl(parameters, document.baseURI, format === "json" ? null : format)),
        h("h3", {}, "Command line"),
        snippet(context, command([...parameters, ...(format === "json" ? [] : [["format", format]])], document.baseURI)),
        h("h3", {}, "Answer"),
        h("p", {}, "The first rows of the answer right now. Durations are seconds, percentiles are within 1 %, null is not known."),
        snippet(context, JSON.stringify({ ...answer, rows: answer.rows.slice(0, 2) }, null, 2)),
        h("h3", {}, "What can be asked"),
        h("dl", { class: "names" },
          h("dt", {}, "group_by, filter"), h("dd", {}, catalogue.dimensions.map((name) => h("code", { title: dimensionName(name) }, name))),
          h("dt", {}, "metrics"), h("dd", {}, catalogue.meta.metrics.map((metric) => h("code", {}, metric.name))),
          h("dt", {}, "granularity"), h("dd", {}, catalogue.meta.granularities.map((name) => h("code", {}, name))),
          h("dt", {}, "filter operators"), h("dd", {}, catalogue.meta.filter_operators.map((name) => h("code", {}, name)))),
        h("p", {}, "The exact description is ", h("a", { href: "openapi.yaml" }, "openapi.yaml"),
          ". Errors are problem documents (RFC 9457) whose ", h("code", {}, "detail"), " says what to change."));
    },
  });
  return view([panel], h("div", { class: "grid" }, panel.element));
}

function snippet(context, text) {
  const button = h("button", { type: "button", class: "button small" }, "Copy");
  button.addEventListener("click", async () => {
    const isCopied = await copy(text);
    context.say(isCopied ? "Copied." : "The browser does not allow copying here; select the text.");
    if (!isCopied) return;
    replace(button, "Copied");
    setTimeout(() => replace(button, "Copy"), 1500);
  });
  return h("div", { class: "snippet" }, h("pre", { tabindex: "0" }, text), button);
}
