/// Decoding of binary values; nil where the bytes are not of the type asked for.
enum PostgresDecoding {
    /// The big-endian integer that fills `bytes`, sign-extended from 2, 4 or 8 bytes.
    static func int(_ bytes: RawSpan, type: UInt32) -> Int64? {
        switch type {
        case PostgresType.int8: bigEndian64(bytes).map { Int64(bitPattern: $0) }
        case PostgresType.int4, PostgresType.date:
            unsigned(bytes, 4).map { Int64(Int32(truncatingIfNeeded: $0)) }
        case PostgresType.int2:
            unsigned(bytes, 2).map { Int64(Int16(truncatingIfNeeded: $0)) }
        case PostgresType.oid: unsigned(bytes, 4).map { Int64($0) }
        case PostgresType.numeric: Numeric(bytes)?.int
        default: nil
        }
    }

    /// A floating-point, decimal or integer value.
    static func double(_ bytes: RawSpan, type: UInt32) -> Double? {
        switch type {
        case PostgresType.float8: bigEndian64(bytes).map { Double(bitPattern: $0) }
        case PostgresType.float4:
            unsigned(bytes, 4).map { Double(Float(bitPattern: UInt32(truncatingIfNeeded: $0))) }
        case PostgresType.numeric: Numeric(bytes)?.double
        default: int(bytes, type: type).map { Double($0) }
        }
    }

    /// Text as sent; integers, `uuid` and `jsonb` in their text form.
    static func text(_ bytes: RawSpan, type: UInt32) -> String {
        switch type {
        case PostgresType.int2, PostgresType.int4, PostgresType.int8, PostgresType.oid:
            int(bytes, type: type).map { String($0) } ?? ""
        case PostgresType.bool: bytes.firstByteOrZero == 0 ? "f" : "t"
        case PostgresType.uuid: uuidText(bytes)
        case PostgresType.jsonb where bytes.byteCount > 0:
            string(bytes.extracting(1..<bytes.byteCount))  // after its version byte
        default: string(bytes)
        }
    }

    /// The bytes as a string, malformed UTF-8 repaired; the server sends none.
    static func string(_ bytes: RawSpan) -> String {
        unsafe bytes.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
    }

    /// A copy of the bytes.
    static func array(_ bytes: RawSpan) -> [UInt8] {
        unsafe bytes.withUnsafeBytes { unsafe [UInt8]($0) }
    }

    /// A big-endian number of exactly eight bytes.
    static func bigEndian64(_ bytes: RawSpan) -> UInt64? {
        guard bytes.byteCount == 8 else { return nil }
        return UInt64(bigEndian: unsafe bytes.unsafeLoadUnaligned(as: UInt64.self))
    }

    /// A big-endian number of exactly `width` bytes, at most eight.
    static func unsigned(_ bytes: RawSpan, _ width: Int) -> UInt64? {
        guard bytes.byteCount == width else { return nil }
        var number: UInt64 = 0
        for index in 0..<width { number = number << 8 | UInt64(bytes.byte(index)) }
        return number
    }

    private static func uuidText(_ bytes: RawSpan) -> String {
        var text = ""
        for index in 0..<bytes.byteCount {
            if index == 4 || index == 6 || index == 8 || index == 10 { text += "-" }
            let byte = bytes.byte(index)
            text += String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
        }
        return text
    }
}

/// A `numeric` as sent: base-10000 digits, weight of the first, sign and display scale.
struct Numeric {
    private var digits: [Int] = []
    private var weight = 0
    private var isNegative = false
    private var special: Double?

    init?(_ bytes: RawSpan) {
        guard bytes.byteCount >= 8 else { return nil }
        func field(_ index: Int) -> Int {
            Int(bytes.byte(index * 2)) << 8 | Int(bytes.byte(index * 2 + 1))
        }
        let count = field(0)
        guard bytes.byteCount == 8 + 2 * count else { return nil }
        weight = Int(Int16(truncatingIfNeeded: field(1)))
        switch field(2) {
        case 0x0000: break
        case 0x4000: isNegative = true
        case 0xC000: special = .nan
        case 0xD000: special = .infinity
        case 0xF000: special = -.infinity
        default: return nil
        }
        for index in 0..<count { digits.append(field(4 + index)) }
    }

    /// The value if it has no fraction and fits.
    var int: Int64? {
        if special != nil { return nil }
        var magnitude: Int64 = 0
        // Accumulated below zero, because only there does the smallest value fit.
        for index in 0..<max(digits.count, weight + 1) {
            let digit = index < digits.count ? digits[index] : 0
            if index > weight {
                if digit != 0 { return nil }
                continue
            }
            let (scaled, first) = magnitude.multipliedReportingOverflow(by: 10_000)
            let (next, second) = scaled.subtractingReportingOverflow(Int64(digit))
            if first || second { return nil }
            magnitude = next
        }
        if isNegative { return magnitude }
        return magnitude == Int64.min ? nil : -magnitude
    }

    /// The nearest floating-point value, by its decimal text so that it is rounded once.
    var double: Double {
        if let special { return special }
        var text = isNegative ? "-0" : "0"
        for digit in digits {
            let padded = String(digit)
            text += String(repeating: "0", count: 4 - padded.count) + padded
        }
        text += "e\((weight + 1 - digits.count) * 4)"
        return Double(text) ?? .nan
    }
}

extension RawSpan {
    /// The byte at `index`, which the caller has checked to be within bounds.
    @inline(always)
    func byte(_ index: Int) -> UInt8 {
        precondition(index >= 0 && index < byteCount, "byte \(index) of \(byteCount)")
        return unsafe unsafeLoad(fromUncheckedByteOffset: index, as: UInt8.self)
    }

    /// The first byte, 0 if there is none.
    var firstByteOrZero: UInt8 { byteCount > 0 ? byte(0) : 0 }
}
