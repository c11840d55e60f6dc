import Records
import Rollups

/// A request as the model sees it: plain values, no encodings.
struct SampleRequest: Sendable {
    var completedAt: Int64
    var org = ""
    var api = ""
    var version = ""
    var route = ""
    var method = ""
    var status: UInt32?
    var outcome = Outcome.ok
    var region = ""
    var application = ""
    var key = ""
    var plan = ""
    var client = ""
    var country = ""
    var userAgent = ""
    var platform = ""
    var address = ""
    var bytesIn: UInt64 = 0
    var bytesOut: UInt64 = 0
    var duration: UInt64?
    var upstream: UInt64?

    /// The tag that user-defined rollups group by in tests.
    static let tag = "tenant"

    /// The value of the tag; made from the others, so that it takes no random number.
    var tenant: String { ["", "t1", "t2", "Mandant \u{FC}"][Int(bytesOut % 4)] }

    /// Encodes the fields from kind on.
    func encode(into encoder: inout RecordEncoder) {
        encoder.put(.kind, UInt64(RecordKind.request.rawValue))
        encoder.put(.completedAt, signed: completedAt)
        encoder.put(.outcome, UInt64(outcome.rawValue))
        let texts: [(RecordField, String)] = [
            (.org, org), (.api, api), (.apiVersion, version), (.route, route), (.method, method),
            (.region, region), (.application, application), (.keyID, key), (.plan, plan),
            (.clientIP, client), (.country, country), (.userAgentFamily, userAgent),
            (.platform, platform), (.upstreamAddress, address),
        ]
        for (field, text) in texts where !text.isEmpty { encoder.put(field, text) }
        if let status { encoder.put(.status, UInt64(status)) }
        if let duration { encoder.put(.durationUS, duration) }
        if let upstream { encoder.put(.upstreamDurationUS, upstream) }
        if bytesIn > 0 { encoder.put(.requestBytes, bytesIn) }
        if bytesOut > 0 { encoder.put(.responseBytes, bytesOut) }
        guard !tenant.isEmpty else { return }
        encoder.putTag(key: "other", value: "x")
        encoder.putTag(key: Self.tag, value: tenant)
        // Only the first of a name counts.
        encoder.putTag(key: Self.tag, value: "second")
    }

    /// The organisations of random requests.
    static let orgs = ["acme", "globex", "caf\u{E9}", "cafe\u{301}", ""]

    /// A random request; few values per dimension, so that keys collide, among them pairs that only
    /// differ in the way their characters are composed.
    static func random(_ random: inout SplitMix, around start: Int64, span: Int64) -> Self {
        var request = SampleRequest(completedAt: start + Int64(random.below(Int(span))))
        request.org = random.pick(orgs)
        request.api = random.pick(["orders", "payments", "it's \"quoted\"\\", "日本"])
        request.version = random.pick(["", "v1", "v2"])
        request.route = random.pick(["/a", "/b/{id}", "__unmatched__", "{\"x\"},NULL"])
        request.method = random.pick(["GET", "POST", ""])
        request.status = random.pick([nil, 200, 201, 404, 429, 500, 503])
        request.outcome = random.pick([
            .ok, .clientError, .upstreamError, .clientAborted, .gatewayError, .unspecified,
        ])
        request.region = random.pick(["", "eu", "us"])
        request.application = random.pick(["", "shop", "mobile"])
        request.key = random.pick(["", "k1", "k2", "k3", "k\(random.below(40))"])
        request.plan = random.pick(["", "gold", "free"])
        request.client = random.pick(["", "192.0.2.\(random.below(200))"])
        request.country = random.pick(["", "DE", "FR"])
        request.userAgent = random.pick(["", "curl", "Chrome", "browser \(random.below(30))"])
        request.platform = random.pick(["", "Linux"])
        request.address = random.pick(["", "10.0.0.\(random.below(9)):80"])
        request.bytesIn = UInt64(random.below(3)) * UInt64(random.below(100_000))
        request.bytesOut = UInt64(random.below(1_000_000))
        request.duration = random.below(10) == 0 ? nil : UInt64(random.below(5_000_000))
        request.upstream = random.below(4) == 0 ? nil : UInt64(random.below(70_000))
        return request
    }
}

/// SplitMix64: small, seeded, good enough for tests.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

    mutating func pick<T>(_ choices: [T]) -> T { choices[below(choices.count)] }
}
