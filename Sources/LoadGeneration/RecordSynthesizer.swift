package import Records

/// Encodes seeded request records of a profile, one after the other.
///
/// Owner: one thread. Nothing is allocated per record.
package struct RecordSynthesizer {
    private let profile: TrafficProfile
    private var random: SeededGenerator
    private var clock: Int64
    private let step: Int64

    private static let statuses: [(status: UInt64, outcome: Outcome)] = [
        (200, .ok), (201, .ok), (204, .ok), (304, .ok), (400, .clientError), (404, .clientError),
        (429, .rateLimited), (401, .authFailed), (500, .upstreamError), (502, .upstreamUnreachable),
        (504, .upstreamTimeout), (499, .clientAborted),
    ]
    private static let statusChoice = WeightedChoice(
        weights: [880, 30, 20, 20, 8, 18, 6, 4, 6, 2, 3, 3])
    private static let agents: [(agent: [UInt8], family: [UInt8], platform: [UInt8])] = [
        (Array("okhttp/4.12.0".utf8), Array("okhttp".utf8), Array("Android".utf8)),
        (Array("curl/8.5.0".utf8), Array("curl".utf8), []),
        (Array("python-requests/2.32.3".utf8), Array("python".utf8), []),
    ]

    /// How many values the tag `tenant` has; without any, records have no tags.
    package var tenants = 0

    /// Event time of the next record, in microseconds since 1970.
    package var eventTime: Int64 { clock }

    /// Records start at `start` (µs since 1970) and come every `stepMicroseconds`; the same seed
    /// and profile give the same records.
    package init(
        _ profile: TrafficProfile,
        seed: UInt64,
        start: Int64,
        stepMicroseconds: Int64
    ) {
        self.profile = profile
        random = SeededGenerator(seed: seed)
        clock = start
        step = stepMicroseconds
    }

    /// Encodes the next record's fields from `kind` on; the lane has written its identity.
    package mutating func encodeNext(into encoder: inout RecordEncoder) {
        let api = profile.apis[profile.apiChoice.draw(&random)]
        let endpoint = api.routes[profile.routeChoice.draw(&random)]
        let key = profile.keys[profile.keyChoice.draw(&random)]
        let (status, outcome) = Self.statuses[Self.statusChoice.draw(&random)]
        let agent = Self.agents[random.below(Self.agents.count)]
        let upstream = profile.latency.draw(&random)
        let gateway = UInt64(60 + random.below(200))

        encoder.put(.kind, UInt64(RecordKind.request.rawValue))
        encoder.put(.completedAt, signed: clock)
        encoder.put(.outcome, UInt64(outcome.rawValue))
        encoder.put(.org, api.org)
        encoder.put(.api, api.id)
        encoder.put(.route, endpoint.route)
        encoder.put(.method, endpoint.method)
        encoder.put(.status, status)
        encoder.put(.durationUS, upstream + gateway)
        encoder.put(.upstreamDurationUS, upstream)
        encoder.put(.responseBytes, UInt64(180 + random.below(20_000)))
        encoder.put(.keyID, key.id)
        encoder.put(.startedAt, signed: clock - Int64(upstream + gateway))
        encoder.put(.requestBytes, UInt64(150 + random.below(900)))
        encoder.put(.apiVersion, api.version)
        encoder.put(.application, key.application)
        encoder.put(.plan, key.plan)
        encoder.put(.clientIP, key.clientIP)
        encoder.put(.userAgent, agent.agent)
        encoder.put(.userAgentFamily, agent.family)
        if !agent.platform.isEmpty { encoder.put(.platform, agent.platform) }
        encoder.put(.path, endpoint.path)
        encoder.put(.gatewayDurationUS, gateway)
        if tenants > 0 { putTenant(into: &encoder) }
        clock += step
    }

    /// Puts the tag `tenant`, or none as often as any of its values.
    private mutating func putTenant(into encoder: inout RecordEncoder) {
        let number = random.below(tenants + 1)
        if number > 0 { encoder.putTag(key: "tenant", value: "t\(number)") }
    }
}
