import Foundation

/// Names and values of a question as the client sent them, from a query string or a JSON body.
package struct UsageParameters: Equatable, Sendable {
    /// One name with one value.
    package struct Pair: Equatable, Sendable {
        /// Name of the parameter.
        package var name: String
        /// Its value.
        package var value: String
    }

    /// Most pairs accepted; chosen: more than any meaningful question has.
    static let pairsMax = 256

    /// The pairs in the order in which they came; `filter` may occur more than once.
    package var pairs: [Pair] = []

    /// Names of JSON members that are null, which counts as left out.
    package var absent: [String] = []

    /// No parameters at all.
    package init() {}

    /// Reads a query string (`application/x-www-form-urlencoded`, UTF-8).
    package init(query: some StringProtocol) throws(Problem) {
        for part in query.utf8.split(separator: UInt8(ascii: "&")) {
            guard pairs.count < Self.pairsMax else {
                throw Problem(.queryTooLong, "send at most \(Self.pairsMax) parameters")
            }
            let halves = part.split(
                separator: UInt8(ascii: "="),
                maxSplits: 1,
                omittingEmptySubsequences: false
            )
            let name = try Self.decode(halves[0])
            let value = halves.count > 1 ? try Self.decode(halves[1]) : ""
            pairs.append(Pair(name: name, value: value))
        }
    }

    /// Reads a JSON object whose members are texts, numbers or arrays of texts.
    package init(json: [UInt8]) throws(Problem) {
        let object: [String: JSONMember]
        do {
            object = try JSONDecoder().decode([String: JSONMember].self, from: Data(json))
        } catch {
            throw Problem(
                .invalidBody,
                "send one JSON object whose members are strings, numbers or arrays of strings"
            )
        }
        for (name, member) in object.sorted(by: { $0.key < $1.key }) {
            switch member {
            case .null: absent.append(name)
            case .text(let text): try append(name, text)
            case .list(let texts):
                // Elsewhere a list is written with commas, so it is read back the same way.
                if name == "filter" {
                    for text in texts { try append(name, text) }
                } else {
                    try append(name, texts.joined(separator: ","))
                }
            }
        }
    }

    private mutating func append(_ name: String, _ value: String) throws(Problem) {
        guard pairs.count < Self.pairsMax else {
            throw Problem(.invalidBody, "send at most \(Self.pairsMax) parameters")
        }
        guard !value.utf8.contains(0) else {
            throw .invalid(name, "\(name) contains U+0000; leave it out")
        }
        pairs.append(Pair(name: name, value: value))
    }

    /// Undoes percent-encoding; `+` is a space.
    private static func decode(_ part: Substring.UTF8View.SubSequence) throws(Problem) -> String {
        try decodeBytes(Array(part))
    }

    private static func decode(_ part: some Sequence<UInt8>) throws(Problem) -> String {
        try decodeBytes(Array(part))
    }

    private static func decodeBytes(_ part: [UInt8]) throws(Problem) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(part.count)
        var at = 0
        while at < part.count {
            switch part[at] {
            case UInt8(ascii: "+"): bytes.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                guard at + 2 < part.count, let high = hexadecimal(part[at + 1]),
                    let low = hexadecimal(part[at + 2])
                else { throw Problem(.invalidParameter, "write % as %25 in the query string") }
                bytes.append(high << 4 | low)
                at += 2
            default: bytes.append(part[at])
            }
            at += 1
        }
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else {
            throw Problem(.invalidParameter, "encode the query string as UTF-8 without U+0000")
        }
        return text
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

/// A member of the JSON body.
private enum JSONMember: Decodable {
    case null
    case text(String)
    case list([String])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let text = try? container.decode(String.self) {
            self = .text(text)
        } else if let number = try? container.decode(Int64.self) {
            self = .text(String(number))
        } else {
            self = .list(try container.decode([String].self))
        }
    }
}
