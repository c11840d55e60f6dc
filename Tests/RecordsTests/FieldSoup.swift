import Records

/// Encoded fields in any order, known and unknown, well formed and strange; independent of our
/// encoder.
struct FieldSoup {
    /// The fields, each with its tag.
    var fields: [[UInt8]] = []

    /// All fields one after the other.
    var bytes: [UInt8] { fields.flatMap { $0 } }

    /// Makes so many random fields.
    init(_ count: Int, _ random: inout SeededRandom) {
        for _ in 0..<count { fields.append(Self.field(&random)) }
        fields.shuffle(using: &random)
    }

    /// A varint, now and then longer than it need be; protobuf takes no tag above five bytes.
    static func varint(
        _ value: UInt64,
        _ random: inout SeededRandom,
        sizeMax: Int = 10
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
        if random.chance(3) {
            while bytes.count < sizeMax, random.chance(50) {
                bytes[bytes.count - 1] |= 0x80
                bytes.append(0)
            }
        }
        return bytes
    }

    /// One field.
    private static func field(_ random: inout SeededRandom) -> [UInt8] {
        let known = RecordField.allCases.randomElement(using: &random) ?? .org
        let isKnown = random.chance(80)
        let number =
            isKnown
            ? UInt64(known.rawValue) : UInt64.random(in: 48...536_870_910, using: &random)
        let wireType: UInt64 =
            isKnown && random.chance(90)
            ? (isNumber(known) ? 0 : 2) : [0, 1, 2, 3, 5].randomElement(using: &random) ?? 0
        if known == .schemaVersion, isKnown, wireType == 0 {
            return varint(8, &random, sizeMax: 5)
                + varint(UInt64.random(in: 0...1, using: &random), &random)
        }
        let tag = varint(number << 3 | wireType, &random, sizeMax: 5)
        return tag + content(number, wireType, isKnown ? known : nil, depth: 0, &random)
    }

    /// What follows a tag.
    private static func content(
        _ number: UInt64,
        _ wireType: UInt64,
        _ field: RecordField?,
        depth: Int,
        _ random: inout SeededRandom
    ) -> [UInt8] {
        switch wireType {
        case 0: return varint(random.chance(70) ? random.number() & 15 : random.number(), &random)
        case 1: return random.bytes(8)
        case 5: return random.bytes(4)
        case 3:
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let inner = UInt64.random(in: 1...100, using: &random)
                let type: UInt64 =
                    (depth < 4 ? [0, 1, 2, 3, 5] : [0, 1, 2, 5])
                    .randomElement(using: &random) ?? 0
                bytes += varint(inner << 3 | type, &random, sizeMax: 5)
                bytes += content(inner, type, nil, depth: depth + 1, &random)
            }
            return bytes + varint(number << 3 | 4, &random, sizeMax: 5)
        default:
            let payload: [UInt8]
            switch field {
            case .tags: payload = nested([2, 2], &random)
            case .capturedRequest, .capturedResponse: payload = nested([2, 0], &random)
            case .logID, .predecessorLogID, .traceID:
                payload = random.bytes(random.chance(80) ? 16 : 5)
            default: payload = Array(random.text().utf8)
            }
            return varint(UInt64(payload.count), &random) + payload
        }
    }

    /// The fields of a tag or capture, in any order and number.
    private static func nested(_ types: [UInt64], _ random: inout SeededRandom) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let index = Int.random(in: 0..<types.count, using: &random)
            bytes += varint(UInt64(index + 1) << 3 | types[index], &random, sizeMax: 5)
            bytes += content(0, types[index], .org, depth: 0, &random)
        }
        return bytes
    }

    /// Whether a field is a number on the wire.
    static func isNumber(_ field: RecordField) -> Bool {
        switch field {
        case .schemaVersion, .offset, .kind, .completedAt, .outcome, .status, .durationUS,
            .upstreamDurationUS, .responseBytes, .startedAt, .requestBytes, .upstreamStatus,
            .upstreamConnectUS, .upstreamFirstByteUS, .gatewayDurationUS, .retryCount,
            .nextOffset, .lane:
            true
        default: false
        }
    }
}
