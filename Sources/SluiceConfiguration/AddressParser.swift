/// Reads IP addresses without asking the operating system.
enum AddressParser {
    /// The 4 or 16 bytes of an address; nil if it is none.
    static func bytes(_ text: String) -> [UInt8]? {
        text.contains(":") ? version6(text) : version4(text)
    }

    /// Four decimal numbers with dots, no leading zeros.
    private static func version4(_ text: some StringProtocol) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            guard (1...3).contains(part.utf8.count),
                part.utf8.allSatisfy({ (48...57).contains($0) }),
                part.count == 1 || part.first != "0", let byte = UInt8(part)
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    /// RFC 4291 text: hexadecimal groups, one `::`, an IPv4 tail.
    private static func version6(_ text: String) -> [UInt8]? {
        let halves = halves(of: text)
        guard (1...2).contains(halves.count) else { return nil }
        var sides: [[UInt8]] = []
        for half in halves {
            guard let side = groups(half, allowsTail: half == halves.last) else { return nil }
            sides.append(side)
        }
        if sides.count == 1 { return sides[0].count == 16 ? sides[0] : nil }
        let missing = 16 - sides[0].count - sides[1].count
        guard missing >= 2 else { return nil }
        return sides[0] + [UInt8](repeating: 0, count: missing) + sides[1]
    }

    /// The text before and after `::`; more than two parts if it stands twice.
    private static func halves(of text: String) -> [String] {
        var halves = [""]
        var rest = text[...]
        while let first = rest.first {
            if rest.hasPrefix("::") {
                halves.append("")
                rest = rest.dropFirst(2)
            } else {
                halves[halves.count - 1].append(first)
                rest = rest.dropFirst()
            }
        }
        return halves
    }

    /// The bytes of groups with single colons between them.
    private static func groups(_ text: String, allowsTail: Bool) -> [UInt8]? {
        if text.isEmpty { return [] }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 8 else { return nil }
        var bytes: [UInt8] = []
        for (index, part) in parts.enumerated() {
            if allowsTail, index == parts.count - 1, part.contains(".") {
                guard let tail = version4(part) else { return nil }
                bytes += tail
                continue
            }
            guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy({ $0 != 43 && $0 != 45 }),
                let group = UInt16(part, radix: 16)
            else { return nil }
            bytes += [UInt8(group >> 8), UInt8(group & 0xFF)]
        }
        return bytes.count <= 16 ? bytes : nil
    }
}
