/// The name of a log: what one lane of one process incarnation appended.
///
/// A random UUID (version 4). On the wire it is 16 bytes in network byte order.
package struct LogID: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    /// The first eight bytes, most significant first.
    package let high: UInt64
    /// The last eight bytes, most significant first.
    package let low: UInt64

    /// Makes a log id from its two halves.
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Makes a fresh random log id; version and variant bits are set as RFC 9562 asks.
    package init(random generator: inout some RandomNumberGenerator) {
        high = generator.next() & 0xFFFF_FFFF_FFFF_0FFF | 0x0000_0000_0000_4000
        low = generator.next() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    }

    /// Reads the 16 bytes of the wire format; nil for any other length.
    package init?(bytes: Span<UInt8>) {
        guard bytes.count == 16 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for index in 0..<8 {
            high = high << 8 | UInt64(bytes[index])
            low = low << 8 | UInt64(bytes[index + 8])
        }
        self.init(high: high, low: low)
    }

    /// Reads the canonical text form, in either case; nil for anything else.
    package init?(_ text: String) {
        var digits = 0
        var high: UInt64 = 0
        var low: UInt64 = 0
        var position = 0
        for unit in text.utf8 {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard unit == UInt8(ascii: "-") else { return nil }
            } else {
                guard let digit = Hexadecimal.value(of: unit), digits < 32 else { return nil }
                if digits < 16 {
                    high = high << 4 | UInt64(digit)
                } else {
                    low = low << 4 | UInt64(digit)
                }
                digits += 1
            }
            position += 1
        }
        guard position == 36 else { return nil }
        self.init(high: high, low: low)
    }

    /// Reads the canonical text form from UTF-8; nothing is allocated.
    package init?(text: Span<UInt8>) {
        guard text.count == 36 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        var digits = 0
        for position in text.indices {
            let unit = text[position]
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard unit == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard let digit = Hexadecimal.value(of: unit) else { return nil }
            if digits < 16 {
                high = high << 4 | UInt64(digit)
            } else {
                low = low << 4 | UInt64(digit)
            }
            digits += 1
        }
        self.init(high: high, low: low)
    }

    /// The 16 bytes of the wire format.
    package var bytes: [16 of UInt8] {
        [16 of UInt8] { index in
            let half = index < 8 ? high : low
            return UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * (index & 7)))
        }
    }

    /// The lower-case UUID text.
    package var description: String {
        var text = ""
        text.reserveCapacity(36)
        let bytes = self.bytes
        for index in bytes.indices {
            if index == 4 || index == 6 || index == 8 || index == 10 { text.append("-") }
            Hexadecimal.append(bytes[index], to: &text)
        }
        return text
    }

    /// Orders log ids as their bytes, which is also PostgreSQL's order of `uuid`.
    package static func < (left: LogID, right: LogID) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }
}

/// A record's dense sequence number within its log.
package struct Offset: RawRepresentable, Hashable, Comparable, Sendable, BitwiseCopyable,
    CustomStringConvertible
{
    /// The number itself.
    package let rawValue: UInt64

    /// Makes an offset from its number.
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Makes an offset from its number.
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// The first offset of every log.
    package static var zero: Offset { Offset(0) }

    /// The offset so many records later.
    package func advanced(by count: UInt64) -> Offset { Offset(rawValue + count) }

    /// The number in decimal.
    package var description: String { String(rawValue) }

    /// Orders offsets by number.
    package static func < (left: Offset, right: Offset) -> Bool {
        left.rawValue < right.rawValue
    }
}
