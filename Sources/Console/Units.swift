/// Numbers as people read them.
package enum Units {
    /// A whole number with thousands apart: 9,126.
    package static func count(_ number: some BinaryInteger) -> String {
        let digits = Array(String(number.magnitude))
        var text = number < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return text
    }

    /// Bytes with a binary unit: 12.3 MiB.
    package static func bytes(_ number: Double) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var value = number
        var unit = 0
        while value.magnitude >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return "\(unit == 0 ? count(Int64(value)) : decimal(value)) \(units[unit])"
    }

    /// Seconds with a unit that leaves three digits: 41.2 ms.
    package static func seconds(_ number: Double) -> String {
        switch number.magnitude {
        case 0: "0 s"
        case ..<0.001: "\(decimal(number * 1_000_000)) µs"
        case ..<1: "\(decimal(number * 1_000)) ms"
        case ..<120: "\(decimal(number)) s"
        case ..<7_200: "\(decimal(number / 60)) min"
        case ..<172_800: "\(decimal(number / 3_600)) h"
        default: "\(decimal(number / 86_400)) d"
        }
    }

    /// A share as percent: 2.1 %.
    package static func share(_ number: Double) -> String { "\(decimal(number * 100)) %" }

    /// About three digits.
    package static func decimal(_ number: Double) -> String {
        guard number.isFinite else { return "\(number)" }
        let digits = number.magnitude >= 100 ? 0 : number.magnitude >= 10 ? 1 : 2
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let scaled = (number.magnitude * scale).rounded()
        guard scaled < 9e15 else { return "\(number)" }
        let whole = Int64(scaled)
        let sign = number < 0 && whole > 0 ? "-" : ""
        if digits == 0 { return sign + count(whole) }
        let base = Int64(scale)
        let fraction = String(whole % base)
        let padding = String(repeating: "0", count: digits - fraction.count)
        return "\(sign)\(whole / base).\(padding)\(fraction)"
    }
}
