/// The format of a file to import.
package enum ImportFormat: String, CaseIterable, Sendable {
    /// Combined Log Format: Common, with referrer and user agent.
    case combined
    /// Common Log Format.
    case common

    /// Formats that are announced and not there yet.
    static let announced = ["nginx-json", "envoy-json", "tyk-json", "ndjson"]

    /// The format of a name; throws for others, and for those that are still to come.
    package init(name: String) throws(ImportError) {
        if let format = ImportFormat(rawValue: name) {
            self = format
            return
        }
        throw .unsupportedFormat(name: name, isAnnounced: Self.announced.contains(name))
    }

    /// Lines looked at to recognise a format; chosen.
    static let detectionLinesMax = 100

    /// Recognises the format by the first lines: Combined as soon as one has a user agent; nil when
    /// none of them is a line of an access log.
    package static func detect(_ beginning: Span<UInt8>) -> ImportFormat? {
        var found: ImportFormat?
        var start = 0
        var lines = 0
        while start < beginning.count, lines < detectionLinesMax {
            var end = start
            while end < beginning.count, beginning[end] != 0x0A { end += 1 }
            if let line = try? AccessLogParser.parse(beginning.extracting(start..<end)) {
                if line.isWholeCombined { return .combined }
                found = .common
            }
            start = end + 1
            lines += 1
        }
        return found
    }
}
