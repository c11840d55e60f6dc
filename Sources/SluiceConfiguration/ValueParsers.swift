/// Why a text is not the value it should be, and what it should look like.
struct ValueError: Error, Equatable {
    /// The sentence for the reader, without the key.
    let message: String

    /// An error that says `message`.
    init(_ message: String) { self.message = message }
}

/// Readings of single values; each says what it wanted when it cannot read one.
enum ValueParser {
    /// Units of time and their length in nanoseconds.
    private static let timeUnits: [(name: String, nanoseconds: Int64)] = [
        ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
        ("h", 3_600_000_000_000), ("d", 86_400_000_000_000),
    ]

    /// Units of size and their bytes.
    private static let sizeUnits: [(name: String, bytes: Int64)] = [
        ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40),
        ("kB", 1_000), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ]

    /// `10ms`, `1s`, `7d`; a bare number is refused because nobody can tell its unit.
    static func duration(_ text: String) throws(ValueError) -> Duration {
        let wanted = "write a whole number with its unit: us, ms, s, m, h or d, as in 10ms"
        guard let (number, unit) = split(text) else {
            throw ValueError("\"\(text)\" is not a duration; \(wanted)")
        }
        guard let found = timeUnits.first(where: { $0.name == unit }) else {
            throw ValueError(
                unit.isEmpty
                    ? "\"\(text)\" has no unit; \(wanted)"
                    : "\"\(unit)\" is not a unit of time; \(wanted)"
            )
        }
        let (nanoseconds, overflow) = number.multipliedReportingOverflow(by: found.nanoseconds)
        guard !overflow else { throw ValueError("\"\(text)\" is longer than 292 years") }
        return .nanoseconds(nanoseconds)
    }

    /// `256MiB`, `50GiB`, `100kB`; a bare number is bytes.
    static func bytes(_ text: String) throws(ValueError) -> Int {
        let wanted = "write a whole number with a unit: B, KiB, MiB, GiB, TiB, kB, MB, GB or TB"
        guard let (number, unit) = split(text) else {
            throw ValueError("\"\(text)\" is not a size; \(wanted)")
        }
        guard let found = sizeUnits.first(where: { $0.name == (unit.isEmpty ? "B" : unit) }) else {
            throw ValueError("\"\(unit)\" is not a unit of size; \(wanted)")
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: found.bytes)
        guard !overflow else { throw ValueError("\"\(text)\" is more than 8 EiB") }
        return Int(bytes)
    }

    /// A whole number in `range`.
    static func integer(_ text: String, in range: ClosedRange<Int>) throws(ValueError) -> Int {
        guard let number = Int(text.filter { $0 != "_" }) else {
            throw ValueError("\"\(text)\" is not a whole number")
        }
        guard range.contains(number) else {
            throw ValueError(
                "\(number) is out of range; \(range.lowerBound) to \(range.upperBound) is allowed"
            )
        }
        return number
    }

    /// `true` or `false`.
    static func boolean(_ text: String) throws(ValueError) -> Bool {
        switch text {
        case "true", "True", "TRUE": return true
        case "false", "False", "FALSE": return false
        default: throw ValueError("\"\(text)\" is neither true nor false")
        }
    }

    /// `host:port`, `[address]:port` or `:port` for every address.
    static func listenAddress(_ text: String) throws(ValueError) -> ListenAddress {
        let wanted = "write host:port, as in 127.0.0.1:8080, or [::1]:8080"
        guard let colon = text.lastIndex(of: ":"),
            let port = Int(text[text.index(after: colon)...]), (0...65_535).contains(port)
        else { throw ValueError("\"\(text)\" has no port from 0 to 65535; \(wanted)") }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
            guard AddressParser.bytes(host)?.count == 16 else {
                throw ValueError("\"\(host)\" is not an IPv6 address; \(wanted)")
            }
        } else if host.contains(":") {
            throw ValueError("\"\(text)\": put the IPv6 address in brackets; \(wanted)")
        }
        if host.isEmpty { host = "0.0.0.0" }
        guard isHost(host) else { throw ValueError("\"\(host)\" is not a host name; \(wanted)") }
        return ListenAddress(host: host, port: port)
    }

    /// `host:port`, `[address]:port` or a host alone, for port 9092.
    static func broker(_ text: String) throws(ValueError) -> String {
        let wanted = "write host:port, as in 127.0.0.1:9092"
        guard !text.contains("/"), !text.contains("@"), !text.contains(",") else {
            throw ValueError("\"\(text)\" is not the address of one broker; \(wanted)")
        }
        let hasPort = text.hasSuffix("]") ? false : text.contains(":")
        let address = try listenAddress(hasPort ? text : "\(text):9092")
        guard address.port != 0, !text.hasPrefix(":"), !text.isEmpty else {
            throw ValueError("\"\(text)\" has no usable host and port; \(wanted)")
        }
        return address.description
    }

    /// The name of a Kafka topic: Kafka's own rule.
    static func topic(_ text: String) throws(ValueError) -> String {
        guard (1...249).contains(text.utf8.count), text != ".", text != "..",
            text.utf8.allSatisfy({ isWord($0) || $0 == UInt8(ascii: ".") })
        else {
            throw ValueError(
                "\"\(text.prefix(40))\" is not the name of a topic: up to 249 letters, digits, "
                    + "dots, hyphens and underscores"
            )
        }
        return text
    }

    /// The name of a sink: it names a directory of checkpoints.
    static func sinkName(_ text: String) throws(ValueError) -> String {
        guard (1...64).contains(text.utf8.count), text.utf8.allSatisfy(isWord) else {
            throw ValueError(
                "\"\(text.prefix(40))\" is not a name of up to 64 letters, digits, hyphens and "
                    + "underscores"
            )
        }
        return text
    }

    /// A decimal number.
    static func number(_ text: String) throws(ValueError) -> Double {
        let plain = text.filter { $0 != "_" }
        guard let number = Double(plain), number.isFinite,
            plain.utf8.allSatisfy({ (48...57).contains($0) || "+-.eE".utf8.contains($0) })
        else { throw ValueError("\"\(text.prefix(40))\" is not a number such as 0.05") }
        return number
    }

    /// An absolute URL of HTTP without user or fragment; never shown, for it may be a secret.
    static func url(_ text: String) throws(ValueError) -> String {
        let rest =
            text.hasPrefix("https://")
            ? text.dropFirst(8) : text.hasPrefix("http://") ? text.dropFirst(7) : ""
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        guard !authority.isEmpty, !authority.contains("@"), !text.contains("#"),
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw ValueError("is not a URL such as https://host/path, without user or #") }
        return text
    }

    /// A date of the Gregorian calendar, as days since 1970-01-01.
    static func date(_ text: String) throws(ValueError) -> Int64 {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        let widths = parts.map(\.utf8.count)
        let numbers = parts.filter { $0.utf8.allSatisfy { (48...57).contains($0) } }
            .compactMap { Int64($0) }
        guard widths == [4, 2, 2], numbers.count == 3, numbers[0] >= 1970,
            (1...12).contains(numbers[1]), numbers[2] >= 1,
            numbers[2] <= daysInMonth(year: numbers[0], month: numbers[1])
        else {
            throw ValueError(
                "\"\(text.prefix(40))\" is not a date from 1970 on; write it as in 2026-01-31"
            )
        }
        let (year, month) = (numbers[0], numbers[1])
        let leapDays = (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400
        let before = (1..<month).reduce(0) { $0 + daysInMonth(year: year, month: $1) }
        // The year 1970 began 719,162 days after the first of January of the year 1.
        return (year - 1) * 365 + leapDays - 719_162 + before + numbers[2] - 1
    }

    private static func daysInMonth(year: Int64, month: Int64) -> Int64 {
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        return month == 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
    }

    /// Whether a byte is a letter, a digit, `-` or `_`.
    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// `http://host:port` or `builtin:demo`.
    static func upstream(_ text: String) throws(ValueError) -> Upstream {
        if text == "builtin:demo" { return .builtInDemo }
        let wanted = "write http://host:port"
        if text.hasPrefix("https://") {
            throw ValueError("\"\(text)\": https upstreams are \(Unsupported.phrase); \(wanted)")
        }
        guard text.hasPrefix("http://") else {
            throw ValueError("\"\(text)\" is not an http URL; \(wanted)")
        }
        var rest = text.dropFirst("http://".count)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        guard !rest.contains(where: { "/?#@".contains($0) }) else {
            throw ValueError(
                "\"\(text)\" has a path, query or user, which cannot be given here; \(wanted)"
            )
        }
        guard !rest.isEmpty else { throw ValueError("\"\(text)\" has no host; \(wanted)") }
        let hasPort = rest.hasSuffix("]") ? false : rest.contains(":")
        let address = try listenAddress(hasPort ? String(rest) : "\(rest):80")
        guard address.port != 0, !rest.hasPrefix(":") else {
            throw ValueError("\"\(text)\" has no usable host and port; \(wanted)")
        }
        return .http(host: address.host, port: address.port)
    }

    /// `address/bits` or an address alone.
    static func network(_ text: String) throws(ValueError) -> Network {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let address = AddressParser.bytes(String(parts[0])), parts.count <= 2 else {
            throw ValueError("\"\(text)\" is not a network; write one as in 10.0.0.0/8 or ::1")
        }
        let most = address.count * 8
        guard parts.count == 2 else {
            return Network(address: address, bits: most, description: text)
        }
        guard let bits = Int(parts[1]), (0...most).contains(bits) else {
            throw ValueError("\"\(text)\": the number after the slash goes from 0 to \(most)")
        }
        return Network(address: address, bits: bits, description: text)
    }

    /// `GET /orders/{id}` or `/orders/*` for any method.
    static func route(_ text: String) throws(ValueError) -> RouteSettings {
        let wanted = "write METHOD /path/{name}, as in GET /orders/{id}"
        let parts = text.split(separator: " ", omittingEmptySubsequences: true)
        guard (1...2).contains(parts.count), let template = parts.last, template.hasPrefix("/")
        else {
            throw ValueError("\"\(text)\" is not a route; \(wanted)")
        }
        var method: String?
        if parts.count == 2, parts[0] != "*" {
            guard parts[0].utf8.allSatisfy({ (65...90).contains($0) || $0 == 45 }) else {
                throw ValueError("\"\(parts[0])\" is not a method in capitals; \(wanted)")
            }
            method = String(parts[0])
        }
        guard text.utf8.count <= 512 else { throw ValueError("a route is longer than 512 bytes") }
        var names: Set<Substring> = []
        let segments = template.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        for (index, segment) in segments.enumerated() {
            if segment == "*" {
                guard index == segments.count - 1 else {
                    throw ValueError("\"\(text)\": `*` may only stand at the end")
                }
            } else if segment.hasPrefix("{"), segment.hasSuffix("}"), segment.count > 2 {
                let name = segment.dropFirst().dropLast()
                guard !name.contains(where: { "{}*?#".contains($0) }) else {
                    throw ValueError("\"\(text)\": {\(name)} is not a name; \(wanted)")
                }
                guard names.insert(name).inserted else {
                    throw ValueError(
                        "\"\(text)\" has {\(name)} twice; give each segment its own name"
                    )
                }
            } else if segment.contains(where: { "{}*?#".contains($0) }) {
                throw ValueError(
                    "\"\(text)\": \"\(segment)\" mixes text with a wildcard; \(wanted)"
                )
            }
        }
        return RouteSettings(method: method, template: String(template))
    }

    /// A path prefix that begins with a slash.
    static func listenPath(_ text: String) throws(ValueError) -> String {
        guard text.hasPrefix("/") else {
            throw ValueError("\"\(text)\" does not begin with a slash; write it as in /orders/")
        }
        guard !text.contains(where: { "?#{}* ".contains($0) }), !text.contains("//"),
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else {
            throw ValueError("\"\(text)\" is not a plain path; write it as in /orders/")
        }
        return text.hasSuffix("/") ? text : text + "/"
    }

    /// The name of a header field.
    static func headerName(_ text: String) throws(ValueError) -> String {
        let others = Set("!#$%&'*+-.^_`|~".utf8)
        let isToken = text.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                || others.contains($0)
        }
        guard isToken, (1...128).contains(text.utf8.count) else {
            throw ValueError(
                "\"\(text)\" is not the name of a header field; write one as in X-Api-Key"
            )
        }
        return text
    }

    /// A name that ends up in records and queries: 1 to 128 bytes, no control characters.
    static func name(_ text: String) throws(ValueError) -> String {
        guard (1...128).contains(text.utf8.count),
            text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
        else {
            throw ValueError(
                "\"\(text.prefix(40))\" is not a name of 1 to 128 printable characters"
            )
        }
        guard !text.hasPrefix("__") else {
            throw ValueError(
                "\"\(text)\" begins with two underscores, which Sluice keeps for itself"
            )
        }
        return text
    }

    /// A whole number and what follows it.
    private static func split(_ text: String) -> (Int64, String)? {
        let digits = text.prefix { $0.isASCII && $0.isNumber || $0 == "_" }
        guard let number = Int64(digits.filter { $0 != "_" }) else { return nil }
        return (number, text[digits.endIndex...].trimmingSpaces)
    }

    /// Whether `text` may be a host name or an address.
    private static func isHost(_ text: String) -> Bool {
        if AddressParser.bytes(text) != nil { return true }
        return (1...253).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                    || $0 == 45 || $0 == 46 || $0 == 95
            }
    }
}

extension StringProtocol {
    /// The text without spaces at its ends.
    var trimmingSpaces: String {
        var rest = self[...]
        while rest.first == " " { rest = rest.dropFirst() }
        while rest.last == " " { rest = rest.dropLast() }
        return String(rest)
    }
}
