import Rollups

/// Where the next page of an answer begins: after the row with this key.
///
/// Opaque to clients. It carries the range and the granularity as they were resolved for the first
/// page, so that relative times do not move between pages, and no authority: filters and token are
/// those of the request that brings it.
package struct Cursor: Equatable, Sendable {
    /// Hash of the question that the cursor belongs to.
    var fingerprint: UInt64
    /// Start of the range, microseconds since the Unix epoch.
    var from: Int64
    /// End of the range, exclusive.
    var to: Int64
    /// Width of the buckets.
    var granularity: Granularity
    /// The key of the last row of the page.
    var key: RowKey

    /// A cursor put together by ourselves.
    init(fingerprint: UInt64, from: Int64, to: Int64, granularity: Granularity, key: RowKey) {
        self.fingerprint = fingerprint
        self.from = from
        self.to = to
        self.granularity = granularity
        self.key = key
    }
}

/// What places a row in the order of an answer: the terms of an explicit order, then bucket and
/// groups.
struct RowKey: Equatable, Sendable {
    /// The cells that the explicit order compares.
    var terms: [Value]
    /// Start of the bucket, Unix seconds; 0 for `total`.
    var bucket: Int64
    /// Values of the groups.
    var groups: [Value]
}

extension Cursor {
    /// The format; the first byte.
    private static let version: UInt8 = 1

    /// The text that clients send back: base64url of version, fields and a hash of them.
    package var text: String {
        var writer = ByteWriter()
        writer.bytes.append(Self.version)
        writer.number(fingerprint)
        writer.number(UInt64(bitPattern: from))
        writer.number(UInt64(bitPattern: to))
        writer.bytes.append(UInt8(Granularity.allCases.firstIndex(of: granularity) ?? 0))
        writer.number(UInt64(bitPattern: key.bucket))
        for values in [key.terms, key.groups] {
            writer.bytes.append(UInt8(truncatingIfNeeded: values.count))
            for value in values { writer.value(value) }
        }
        writer.number(StableHash.hash(writer.bytes.span))
        return Base64URL.encode(writer.bytes)
    }

    /// Reads the text of a cursor; nil if it is none of ours.
    package init?(_ text: String) {
        guard text.utf8.count <= 64 << 10, let bytes = Base64URL.decode(text), bytes.count > 8
        else { return nil }
        var reader = ByteReader(bytes: Array(bytes.dropLast(8)))
        var tail = ByteReader(bytes: Array(bytes.suffix(8)))
        guard tail.number() == StableHash.hash(reader.bytes.span), reader.byte() == Self.version,
            let fingerprint = reader.number(), let from = reader.number(),
            let to = reader.number(), let place = reader.byte(),
            Int(place) < Granularity.allCases.count, let bucket = reader.number(),
            let terms = reader.values(), let groups = reader.values(), reader.isAtEnd
        else { return nil }
        self.init(
            fingerprint: fingerprint,
            from: Int64(bitPattern: from),
            to: Int64(bitPattern: to),
            granularity: Granularity.allCases[Int(place)],
            key: RowKey(terms: terms, bucket: Int64(bitPattern: bucket), groups: groups)
        )
    }
}

/// Puts the fields of a cursor into bytes, little-endian.
struct ByteWriter {
    /// What has been written.
    var bytes: [UInt8] = []

    /// Writes a number of eight bytes.
    mutating func number(_ number: UInt64) {
        for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * shift))) }
    }

    /// Writes a cell behind its kind.
    mutating func value(_ value: Value) {
        switch value {
        case .null: bytes.append(0)
        case .integer(let integer):
            bytes.append(1)
            number(UInt64(bitPattern: integer))
        case .number(let double):
            bytes.append(2)
            number(double.bitPattern)
        case .text(let text):
            bytes.append(3)
            number(UInt64(text.utf8.count))
            bytes.append(contentsOf: text.utf8)
        }
    }
}

/// Reads the fields of a cursor; nil when they end early.
struct ByteReader {
    /// What is read.
    let bytes: [UInt8]
    private var at = 0

    /// A reader at the beginning of some bytes.
    init(bytes: [UInt8]) { self.bytes = bytes }

    /// Whether all has been read.
    var isAtEnd: Bool { at == bytes.count }

    /// One byte.
    mutating func byte() -> UInt8? {
        guard at < bytes.count else { return nil }
        at += 1
        return bytes[at - 1]
    }

    /// A number of eight bytes.
    mutating func number() -> UInt64? {
        guard bytes.count - at >= 8 else { return nil }
        var number: UInt64 = 0
        for shift in 0..<8 { number |= UInt64(bytes[at + shift]) << (8 * UInt64(shift)) }
        at += 8
        return number
    }

    /// A list of cells.
    mutating func values() -> [Value]? {
        guard let count = byte() else { return nil }
        var values: [Value] = []
        for _ in 0..<count {
            guard let kind = byte() else { return nil }
            switch kind {
            case 0: values.append(.null)
            case 1:
                guard let number = number() else { return nil }
                values.append(.integer(Int64(bitPattern: number)))
            case 2:
                guard let number = number() else { return nil }
                values.append(.number(Double(bitPattern: number)))
            case 3:
                guard let count = number(), count <= UInt64(bytes.count - at) else { return nil }
                let end = at + Int(count)
                guard let text = String(validating: bytes[at..<end], as: UTF8.self) else {
                    return nil
                }
                values.append(.text(text))
                at = end
            default: return nil
            }
        }
        return values
    }
}

/// Base64 for URLs (RFC 4648 §5), without padding.
enum Base64URL {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8
    )

    /// The text of some bytes.
    static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            count += 8
            while count >= 6 {
                count -= 6
                text.append(alphabet[Int(bits >> UInt32(count) & 63)])
            }
        }
        if count > 0 { text.append(alphabet[Int(bits << UInt32(6 - count) & 63)]) }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes of a text; nil if it is not in this alphabet.
    static func decode(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for character in text.utf8 {
            guard let value = alphabet.firstIndex(of: character) else { return nil }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return bytes
    }
}
