// The developer portal at `/portal`: a customer's own usage.

import { run } from "./shell.js";
import { access } from "./views/access.js";
import { breakdown } from "./views/breakdown.js";
import { errors } from "./views/errors.js";
import { latency } from "./views/latency.js";
import { meters } from "./views/meters.js";
import { overview } from "./views/overview.js";

run({
  title: "Developer portal",
  brand: "Developer portal",
  home: "portal",
  views: [
    ["usage", "Usage", overview],
    ["breakdown", "Breakdown", breakdown],
    ["errors", "Errors", errors],
    ["latency", "Latency", latency],
    ["meters", "Quota and bills", meters, { isTimeless: true }],
    ["access", "API access", access],
  ],
  notice: ({ scope }) => (scope.name === "application" ? null
    : `This token has the scope ${scope.name} and sees more than one application. Customers sign in here with a token of scope application.`),
});
