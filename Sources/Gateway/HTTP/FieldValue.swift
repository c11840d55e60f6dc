/// Reading field values byte by byte.
enum FieldValue {
    /// A decimal number of digits only; nil for anything else, and above 2⁶².
    static func decimal(_ bytes: Span<UInt8>) -> UInt64? {
        // 18 digits stay below 2⁶²; leading zeros count as digits.
        guard !bytes.isEmpty, bytes.count <= 18 else { return nil }
        var value: UInt64 = 0
        for index in 0..<bytes.count {
            guard ByteClass.isDigit(bytes[index]) else { return nil }
            value = value * 10 + UInt64(bytes[index] - 0x30)
        }
        return value
    }

    /// Whether a comma-separated list has an item, parameters behind `;` aside.
    static func hasListItem(_ bytes: Span<UInt8>, _ lowercase: String) -> Bool {
        var items = ListItems(bytes)
        while let item = items.next(bytes) {
            if equalsIgnoringCase(bytes.extracting(item.range), lowercase) { return true }
        }
        return false
    }

    /// Walks over the items of a comma-separated list.
    struct ListItems {
        private var at = 0

        /// A walk from the beginning.
        init(_ bytes: Span<UInt8>) {}

        /// The next item that is not empty, without white space and parameters.
        mutating func next(_ bytes: Span<UInt8>) -> Place? {
            while at < bytes.count {
                var start = at
                while at < bytes.count, bytes[at] != 0x2C { at += 1 }
                var end = start
                while end < at, bytes[end] != 0x3B { end += 1 }
                at += 1
                while start < end, isBlank(bytes[start]) { start += 1 }
                while end > start, isBlank(bytes[end - 1]) { end -= 1 }
                if start < end { return Place(start, end) }
            }
            return nil
        }

        private func isBlank(_ byte: UInt8) -> Bool {
            byte == ByteClass.space || byte == ByteClass.tab
        }
    }
}

/// The grammar of `Host` and of a target's authority.
enum HostSyntax {
    /// Whether bytes are a host name or address with an optional port, and not empty.
    static func isValid(_ bytes: Span<UInt8>) -> Bool {
        guard !bytes.isEmpty, bytes.count <= 300 else { return false }
        var at = 0
        if bytes[0] == 0x5B {
            at = 1
            while at < bytes.count, bytes[at] != 0x5D {
                let byte = bytes[at]
                guard ByteClass.hexadecimal(byte) != nil || byte == 0x3A || byte == 0x2E else {
                    return false
                }
                at += 1
            }
            guard at < bytes.count, at > 2 else { return false }
            at += 1
        } else {
            while at < bytes.count, bytes[at] != 0x3A {
                guard ByteClass.isHost(bytes[at]) else { return false }
                at += 1
            }
            guard at > 0 else { return false }
        }
        guard at < bytes.count else { return true }
        guard bytes[at] == 0x3A, bytes.count - at <= 6 else { return false }
        var port = 0
        for index in (at + 1)..<bytes.count {
            guard ByteClass.isDigit(bytes[index]) else { return false }
            port = port * 10 + Int(bytes[index] - 0x30)
        }
        return port <= 65_535
    }
}

/// The grammar of paths, as far as routing depends on it.
enum PathSyntax {
    /// Whether a segment is `.` or `..`, written plainly or escaped as `%2e`.
    ///
    /// Such a path could be routed as one thing here and resolved to another by the upstream.
    static func hasDotSegment(_ path: Span<UInt8>) -> Bool {
        var at = 0
        while at < path.count {
            guard path[at] == 0x2F else {
                at += 1
                continue
            }
            at += 1
            var dots = 0
            while at < path.count {
                if path[at] == 0x2E {
                    dots += 1
                    at += 1
                } else if path[at] == 0x25, at + 2 < path.count, path[at + 1] == 0x32,
                    ByteClass.lowercase(path[at + 2]) == 0x65
                {
                    dots += 1
                    at += 3
                } else {
                    break
                }
            }
            if dots == 1 || dots == 2, at == path.count || path[at] == 0x2F { return true }
        }
        return false
    }
}
