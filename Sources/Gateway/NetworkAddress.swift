/// An IPv4 or IPv6 address: read from text, compared with ranges, written as recorded.
package struct NetworkAddress: Equatable, Sendable {
    /// 4 or 16 bytes.
    package let bytes: [UInt8]

    /// Reads an address; an IPv4 address mapped into IPv6 becomes an IPv4 address.
    package init?(_ text: Span<UInt8>) {
        guard text.count >= 2, text.count <= 45 else { return nil }
        var hasColon = false
        for index in 0..<text.count where text[index] == 0x3A { hasColon = true }
        guard let parsed = hasColon ? Self.six(text) : Self.four(text, 0..<text.count) else {
            return nil
        }
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
        bytes = parsed.count == 16 && parsed.starts(with: mapped) ? Array(parsed[12...]) : parsed
    }

    /// Reads an entry of `X-Forwarded-For`: an address, perhaps in brackets, perhaps with a port.
    package init?(forwarded text: Span<UInt8>) {
        guard !text.isEmpty else { return nil }
        if text[0] == 0x5B {
            var end = 1
            while end < text.count, text[end] != 0x5D { end += 1 }
            guard end < text.count else { return nil }
            self.init(text.extracting(1..<end))
            return
        }
        var colons = 0
        var first = 0
        for index in 0..<text.count where text[index] == 0x3A {
            if colons == 0 { first = index }
            colons += 1
        }
        self.init(colons == 1 ? text.extracting(0..<first) : text)
    }

    private static func four(_ text: Span<UInt8>, _ range: Range<Int>) -> [UInt8]? {
        var result: [UInt8] = []
        var value = 0
        var digits = 0
        for index in range {
            let byte = text[index]
            if ByteClass.isDigit(byte) {
                // A leading zero could mean octal elsewhere.
                guard digits == 0 || value > 0 else { return nil }
                value = value * 10 + Int(byte - 0x30)
                digits += 1
                guard value <= 255 else { return nil }
            } else {
                guard byte == 0x2E, digits > 0, result.count < 3 else { return nil }
                result.append(UInt8(value))
                value = 0
                digits = 0
            }
        }
        guard digits > 0, result.count == 3 else { return nil }
        result.append(UInt8(value))
        return result
    }

    private static func six(_ text: Span<UInt8>) -> [UInt8]? {
        var front: [UInt8] = []
        var back: [UInt8] = []
        var hasGap = false
        var at = 0
        if text[0] == 0x3A {
            guard text[1] == 0x3A else { return nil }
            hasGap = true
            at = 2
        }
        while at < text.count {
            let start = at
            var value = 0
            while at < text.count, at - start < 4, let digit = ByteClass.hexadecimal(text[at]) {
                value = value << 4 | Int(digit)
                at += 1
            }
            guard at > start else { return nil }
            if at < text.count, text[at] == 0x2E {
                guard let tail = four(text, start..<text.count) else { return nil }
                if hasGap { back += tail } else { front += tail }
                at = text.count
                break
            }
            let pair = [UInt8(value >> 8), UInt8(value & 0xFF)]
            if hasGap { back += pair } else { front += pair }
            guard at < text.count else { break }
            guard text[at] == 0x3A, at + 1 < text.count else { return nil }
            at += 1
            if text[at] == 0x3A {
                guard !hasGap else { return nil }
                hasGap = true
                at += 1
            }
        }
        let missing = 16 - front.count - back.count
        guard hasGap ? missing >= 2 : missing == 0 else { return nil }
        return front + [UInt8](repeating: 0, count: missing) + back
    }

    /// The address as recorded under a policy; empty when nothing is recorded.
    package func recorded(_ policy: ClientAddressPolicy) -> [UInt8] {
        switch policy {
        case .off: return []
        case .full: return Self.text(bytes)
        case .truncated:
            let kept = bytes.count == 4 ? 3 : 6
            var cut = bytes
            for index in kept..<cut.count { cut[index] = 0 }
            return Self.text(cut)
        }
    }

    /// Dotted decimals, or RFC 5952's form of an IPv6 address.
    package static func text(_ bytes: [UInt8]) -> [UInt8] {
        if bytes.count == 4 {
            return Array(bytes.map { String($0) }.joined(separator: ".").utf8)
        }
        let words = stride(from: 0, to: 16, by: 2).map { Int(bytes[$0]) << 8 | Int(bytes[$0 + 1]) }
        var best = 0..<0
        var index = 0
        while index < 8 {
            var end = index
            while end < 8, words[end] == 0 { end += 1 }
            if end - index > max(best.count, 1) { best = index..<end }
            index = max(end, index + 1)
        }
        let hexadecimal = words.map { String($0, radix: 16) }
        guard !best.isEmpty else { return Array(hexadecimal.joined(separator: ":").utf8) }
        let front = hexadecimal[..<best.lowerBound].joined(separator: ":")
        let back = hexadecimal[best.upperBound...].joined(separator: ":")
        return Array("\(front)::\(back)".utf8)
    }
}
