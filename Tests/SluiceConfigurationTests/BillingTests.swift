import SluiceConfiguration
import Testing

/// `meters`, `webhooks` and `alerts`.
@Suite("Billing")
struct BillingTests {
    private func load(_ text: String, refusals: Refusals = Refusals()) -> LoadedConfiguration {
        ConfigurationLoader(
            environment: ["HOOK": "https://hooks.example.com/a", "SECRET": "0123456789abcdef"],
            hostName: "test",
            refusals: refusals,
            readFile: { _ in "" }
        ).load(text, name: "sluice.yaml")
    }

    @Test("what is written arrives, and what is left out has its default")
    func values() throws {
        let loaded = load(
            """
            gateway: { apis: [] }
            meters:
              - { name: calls, aggregate: count }
              - { name: out, aggregate: sum, field: bytes_out, filter: ["plan:eq:gold"],
                  period: day, timezone: Europe/Berlin, start: 2026-03-28, grace: 6h }
            webhooks: [{ name: ops, url: "env:HOOK", secret: "env:SECRET" }]
            alerts:
              - { name: slow, metric: latency_p99, above: 0.25, window: 10m, for: 1m,
                  notify: [ops] }
              - { name: quota, metric: quota, meter: calls, limit: 100_000, above: .8 }
            """
        )
        #expect(loaded.problems.isEmpty)
        let settings = loaded.settings
        #expect(settings.meters.first == MeterSettings(name: "calls", aggregate: "count"))
        let out = try #require(settings.meters.last)
        #expect(out.field == "bytes_out" && out.filter == ["plan:eq:gold"])
        #expect(out.start == 20_540 && out.grace == .seconds(6 * 3_600))
        #expect(out.period == "day" && out.timezone == "Europe/Berlin")
        #expect(settings.webhooks.first?.url.reveal() == "https://hooks.example.com/a")
        #expect(settings.alerts.first?.above == 0.25)
        #expect(settings.alerts.first?.hold == .seconds(60))
        #expect(settings.alerts.last?.limit == 100_000 && settings.alerts.last?.above == 0.8)
        #expect(loaded.notes.contains { $0.path == "alerts[1].notify" })
    }

    @Test("every problem is listed with its line")
    func problems() {
        var refusals = Refusals()
        refusals.meter = { $0.filter.isEmpty ? [] : [("filter[1]", "no such dimension")] }
        refusals.alert = { $0.metric == "wrong" ? [("metric", "no such metric")] : [] }
        let loaded = load(
            """
            gateway: { apis: [] }
            meters:
              - { name: calls, aggregate: count }
              - { name: calls, aggregate: count }
              - { name: "a b", aggregate: mean }
              - { name: c, aggregate: count, start: 2026-02-29 }
              - name: d
                aggregate: count
                filter:
                  - api:eq:a
                  - nothing:eq:b
            webhooks:
              - { name: ops, url: "ftp://x", secret: short }
            alerts:
              - { name: a, metric: wrong, above: 1, notify: [opps] }
              - { name: b, metric: requests }
              - { name: c, metric: quota, above: 1, limit: 0 }
              - { name: d, metric: lag, above: much, meter: calls }
            """,
            refusals: refusals
        )
        let found = loaded.problems.map(\.description)
        for wanted in [
            "sluice.yaml:4:13: meters[1].name: \"calls\" is also the name of meters[0]",
            "sluice.yaml:5:13: meters[2].name: \"a b\" is not a name",
            "sluice.yaml:5:31: meters[2].aggregate: \"mean\" is not one of",
            "sluice.yaml:6:41: meters[3].start: \"2026-02-29\" is not a date",
            "sluice.yaml:11:9: meters[4].filter[1]: no such dimension",
            "sluice.yaml:13:23: webhooks[0].url: is not a URL",
            "sluice.yaml:13:42: webhooks[0].secret: is shorter than 16 bytes",
            "sluice.yaml:15:24: alerts[0].metric: no such metric",
            "sluice.yaml:15:50: alerts[0].notify[0]: there is no webhook \"opps\"; did you mean",
            "sluice.yaml:16:5: alerts[1]: give one of above and below",
            "sluice.yaml:17:5: alerts[2].meter: quota needs one of meters",
            "sluice.yaml:17:48: alerts[2].limit: quota needs a limit above 0",
            "sluice.yaml:18:36: alerts[3].above: \"much\" is not a number",
            "sluice.yaml:18:49: alerts[3].meter: belongs to the metric quota",
        ] {
            #expect(found.contains { $0.hasPrefix(wanted) }, "\(wanted)")
        }
        #expect(!found.joined().contains("ftp://x"))
    }
}
