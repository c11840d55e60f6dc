import Crypto
import Foundation
import Logging

/// The dashboard and the portal as files in memory: an exact path finds one, nothing else does.
struct WebSite: Sendable {
    /// Where the script of the charts is served.
    static let chartScriptPath = "/assets/chart.js"

    /// What pages may do: run, style, draw and ask what this server sends, and nothing else.
    ///
    /// `frame-ancestors` keeps them out of frames, `require-trusted-types-for` refuses HTML made of
    /// text even where a script should try.
    static let contentSecurityPolicy = [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
        "connect-src 'self'", "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'",
        "require-trusted-types-for 'script'", "trusted-types 'none'",
    ].joined(separator: "; ")

    /// Largest script of charts that is served; chosen: ten times the library's present size.
    private static let chartScriptBytesMax = 2 << 20

    /// What stands in for a missing library: the pages show tables then.
    private static let noChartScript =
        "// Chart.js is not installed on the server (Debian: libjs-chart.js): no charts.\n"

    /// One file ready to be sent.
    private struct Entry: Sendable {
        var mediaType: String
        var entityTag: String
        var body: [UInt8]
    }

    /// Entries by path.
    private let entries: [String: Entry]

    /// The compiled files, and the chart library from a file of the system.
    ///
    /// Reads that file once; a later installation shows after a restart.
    init(_ configuration: QueryConfiguration, logger: Logger) {
        var entries: [String: Entry] = [:]
        for file in WebFile.all {
            entries[file.path] = Entry(
                mediaType: file.mediaType,
                entityTag: Self.entityTag(file.sha256),
                body: Array(file.content.utf8)
            )
        }
        let path = configuration.chartScript
        let script = FileManager.default.contents(atPath: path).map { Array($0) } ?? []
        if script.isEmpty || script.count > Self.chartScriptBytesMax {
            logger.notice(
                "no chart library: the dashboard shows tables",
                metadata: ["path": "\(path)"]
            )
        }
        let isUsable = !script.isEmpty && script.count <= Self.chartScriptBytesMax
        let body = isUsable ? script : Array(Self.noChartScript.utf8)
        entries[Self.chartScriptPath] = Entry(
            mediaType: "text/javascript; charset=utf-8",
            entityTag: Self.entityTag(
                SHA256.hash(data: body).map { byte in
                    let digits = String(byte, radix: 16)
                    return digits.count == 1 ? "0" + digits : digits
                }.joined()
            ),
            body: body
        )
        self.entries = entries
    }

    /// The answer for the file at `path`, or nil if there is none.
    ///
    /// Browsers ask each time whether their copy is current, so that an upgrade shows at once.
    func reply(_ path: String, ifNoneMatch: String?) -> APIReply? {
        guard let entry = entries[path] else { return nil }
        var reply = APIReply(entry.mediaType, entry.body)
        if let ifNoneMatch, Self.matches(ifNoneMatch, entry.entityTag) {
            reply.status = 304
            reply.headers = []
            reply.body = []
        }
        reply.headers.append(("ETag", entry.entityTag))
        reply.headers.append(("Cache-Control", "no-cache"))
        reply.headers.append(("Content-Security-Policy", Self.contentSecurityPolicy))
        reply.headers.append(("Cross-Origin-Opener-Policy", "same-origin"))
        reply.headers.append(
            ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
        )
        return reply
    }

    /// Whether the value of `If-None-Match` names the tag; weak comparison (RFC 9110, 13.1.2).
    private static func matches(_ ifNoneMatch: String, _ entityTag: String) -> Bool {
        ifNoneMatch.split(separator: ",").contains { item in
            var tag = item.drop { $0 == " " || $0 == "\t" }
            while tag.last == " " || tag.last == "\t" { tag.removeLast() }
            if tag.hasPrefix("W/") { tag = tag.dropFirst(2) }
            return tag == "*" || tag == entityTag
        }
    }

    private static func entityTag(_ sha256: String) -> String { "\"\(sha256.prefix(32))\"" }
}
