import Records

/// A small, fast, seeded generator (SplitMix64), so that runs can be compared.
struct SplitMix64: RandomNumberGenerator {
    /// The state.
    var state: UInt64

    /// The next 64 bits.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number from 0 to 1.
    mutating func fraction() -> Double { Double(next() >> 11) / Double(1 << 53) }
}

/// Draws ranks with probability proportional to 1 / rank.
struct Zipf {
    /// The cumulative weights.
    private let cumulative: [Double]

    /// Prepares so many ranks.
    init(_ count: Int) {
        var sum = 0.0
        cumulative = (1...count).map { rank in
            sum += 1 / Double(rank)
            return sum
        }
    }

    /// A rank from 0.
    func draw(_ random: inout SplitMix64) -> Int {
        let wanted = random.fraction() * (cumulative.last ?? 0)
        var low = 0
        var high = cumulative.count - 1
        while low < high {
            let middle = (low + high) / 2
            if cumulative[middle] < wanted { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// Encoded records, one after the other.
struct Traffic {
    /// All bytes.
    private(set) var bytes: [UInt8] = []
    /// Where each record lies.
    private(set) var ranges: [Range<Int>] = []

    /// Makes records of 200 APIs × 12 routes and 20,000 keys, or of ten keys, at 5,000 a second.
    init(count: Int, isPlatform: Bool, seed: UInt64) {
        var random = SplitMix64(state: seed)
        let apis = Zipf(isPlatform ? 200 : 1)
        let routes = Zipf(isPlatform ? 12 : 2)
        let keys = Zipf(isPlatform ? 20_000 : 10)
        var encoder = RecordEncoder()
        let log = LogID(random: &random)
        for number in 0..<count {
            let start = encoder.bytes.count
            let api = apis.draw(&random)
            let key = keys.draw(&random)
            let latency = UInt64(1_000 / (1.001 - random.fraction()))
            let fails = random.fraction() < 0.02
            encoder.put(.schemaVersion, 1)
            encoder.put(.logID, log)
            encoder.put(.offset, UInt64(number))
            encoder.put(.kind, 1)
            encoder.put(.completedAt, 1_780_000_000_000_000 + UInt64(number) * 200)
            encoder.put(.outcome, fails ? 3 : 1)
            encoder.put(.org, "org-\(api % 20)")
            encoder.put(.api, "api-\(api)")
            encoder.put(.route, "/v1/things-\(routes.draw(&random))/{id}")
            encoder.put(.method, random.fraction() < 0.8 ? "GET" : "POST")
            encoder.put(.status, fails ? 502 : 200)
            encoder.put(.durationUS, latency)
            encoder.put(.upstreamDurationUS, latency * 9 / 10)
            encoder.put(.responseBytes, random.next() % 20_000)
            encoder.put(.keyID, Hexadecimal.text(Self.keyBytes(key)))
            encoder.put(
                .requestID,
                [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 16)
            )
            encoder.put(.startedAt, 1_780_000_000_000_000 + UInt64(number) * 200 - latency)
            encoder.put(.requestBytes, 512)
            encoder.put(.apiVersion, "v1")
            encoder.put(.application, "application-\(key / 3)")
            encoder.put(.plan, key % 10 == 0 ? "gold" : "free")
            encoder.put(.node, "gw-eu-1")
            encoder.put(.region, "eu-west")
            encoder.put(.clientIP, "10.\(key % 7).\(key / 256 % 256).\(key % 256)")
            encoder.put(.userAgentFamily, "okhttp")
            encoder.put(.upstreamStatus, fails ? 502 : 200)
            encoder.put(.upstreamAddress, "10.0.0.1:9000")
            encoder.put(.host, "api.example.org")
            ranges.append(start..<encoder.bytes.count)
        }
        bytes = encoder.bytes
    }

    /// The bytes of a key id.
    private static func keyBytes(_ key: Int) -> [UInt8] {
        var random = SplitMix64(state: UInt64(key))
        let value = random.next()
        return (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }

    /// The average size of a record in bytes.
    var averageSize: Int { ranges.isEmpty ? 0 : bytes.count / ranges.count }
}
