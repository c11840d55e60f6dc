// The dashboard at `/`.

import { run } from "./shell.js";
import { breakdown } from "./views/breakdown.js";
import { errors } from "./views/errors.js";
import { health } from "./views/health.js";
import { latency } from "./views/latency.js";
import { overview } from "./views/overview.js";
import { records } from "./views/records.js";

run({
  title: "Sluice",
  brand: "Sluice",
  home: "./",
  views: [
    ["overview", "Overview", overview],
    ["breakdown", "Breakdown", breakdown],
    ["errors", "Errors", errors],
    ["latency", "Latency", latency],
    ["records", "Records", records],
    ["health", "Pipeline", health, { isTimeless: true }],
  ],
});
