import Foundation
import Query
import Testing

/// The dashboard and the portal as the server sends them; no database is needed for that.
@Suite("Web site")
struct WebSiteTests {
    /// Endpoints over no database, with a chart library of the test's own unless it is nil.
    static func api(chartScript: String? = nil) -> QueryAPI {
        let fixture = Fixture(uri: "host=/nowhere", clock: Fixture.Clock(Fixture.now))
        return fixture.api { $0.chartScript = chartScript ?? "/nowhere/chart.min.js" }
    }

    static func get(
        _ path: String,
        method: String = "GET",
        ifNoneMatch: String? = nil,
        _ api: QueryAPI = api()
    ) async -> APIReply {
        await api.respond(APIRequest(method, path, ifNoneMatch: ifNoneMatch))
    }

    static func header(_ name: String, of reply: APIReply) -> String? {
        let values = reply.headers.filter { $0.name == name }.map(\.value)
        #expect(values.count <= 1, "\(name) is sent more than once")
        return values.first
    }

    @Test("the compiled files are those of web/; else run scripts/generate-web.sh")
    func isCurrent() throws {
        let folder = Fixture.root.appendingPathComponent("web")
        let names = try #require(FileManager.default.enumerator(atPath: folder.path))
            .compactMap { $0 as? String }
            .filter { $0.split(separator: "/").last?.contains(".") ?? false }
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        #expect(WebFile.all.map(\.name) == names)
        for file in WebFile.all {
            let url = folder.appendingPathComponent(file.name)
            #expect(file.content == (try String(contentsOf: url, encoding: .utf8)), "\(file.name)")
        }
    }

    @Test(
        "pages and assets have their media type",
        arguments: [
            ("/", "text/html; charset=utf-8"), ("/portal", "text/html; charset=utf-8"),
            ("/assets/style.css", "text/css; charset=utf-8"),
            ("/assets/dashboard.js", "text/javascript; charset=utf-8"),
            ("/assets/views/overview.js", "text/javascript; charset=utf-8"),
            ("/assets/icon.svg", "image/svg+xml"),
        ]
    )
    func mediaTypes(path: String, type: String) async {
        let reply = await Self.get(path)
        #expect(reply.status == 200)
        #expect(Self.header("Content-Type", of: reply) == type)
        #expect(Self.header("X-Content-Type-Options", of: reply) == "nosniff")
        #expect(reply.body == WebFile.all.first { $0.path == path }.map { Array($0.content.utf8) })
    }

    @Test("pages may load from this server alone, and nothing inline")
    func securityPolicy() async throws {
        for path in ["/", "/portal", "/assets/style.css"] {
            let reply = await Self.get(path)
            let policy = try #require(Self.header("Content-Security-Policy", of: reply))
            for part in [
                "default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'",
                "frame-ancestors 'none'", "require-trusted-types-for 'script'",
            ] {
                #expect(policy.contains(part), "\(path): \(part)")
            }
            #expect(!policy.contains("unsafe") && !policy.contains("*"), "\(policy)")
            #expect(Self.header("X-Frame-Options", of: reply) == "DENY")
            #expect(Self.header("Referrer-Policy", of: reply) == "no-referrer")
            #expect(Self.header("Cache-Control", of: reply) == "no-cache")
        }
        let answer = await Self.get("/livez")
        #expect(Self.header("Cache-Control", of: answer) == "no-store")
        #expect(
            Self.header("Content-Security-Policy", of: answer)
                == "default-src 'none'; frame-ancestors 'none'"
        )
        #expect(Self.header("Access-Control-Allow-Origin", of: answer) == nil)
    }

    @Test("pages have no inline script, style or listener, and load nothing from elsewhere")
    func pagesAreClean() {
        for file in WebFile.all {
            let text = file.content
            if file.name.hasSuffix(".html") {
                for match in text.matches(of: #/<script[^>]*>([^<]*)</script>/#) {
                    #expect(match.1.isEmpty && match.0.contains("src="), "\(file.name)")
                }
                #expect(!text.contains("<style") && !text.contains(" style="), "\(file.name)")
                #expect(text.firstMatch(of: #/\son[a-z]+=/#) == nil, "\(file.name)")
            }
            if file.name.hasSuffix(".js") {
                for word in [
                    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                ] {
                    #expect(!text.contains(word), "\(file.name): \(word)")
                }
            }
            for match in text.matches(of: #/(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}[^\s"')]*/#)
            where !match.0.contains("www.w3.org") {
                Issue.record("\(file.name): \(match.0)")
            }
        }
    }

    @Test("a copy that is current is not sent again")
    func entityTags() async throws {
        let first = await Self.get("/assets/style.css")
        let tag = try #require(Self.header("ETag", of: first))
        #expect(tag.hasPrefix("\"") && tag.hasSuffix("\"") && tag.count == 34)
        for known in [tag, "W/" + tag, "\"other\", " + tag, "*"] {
            let reply = await Self.get("/assets/style.css", ifNoneMatch: known)
            #expect(reply.status == 304 && reply.body.isEmpty, "\(known)")
            #expect(Self.header("ETag", of: reply) == tag)
            #expect(Self.header("Content-Type", of: reply) == nil)
        }
        let stale = await Self.get("/assets/style.css", ifNoneMatch: "\"other\"")
        #expect(stale.status == 200 && stale.body == first.body)
        let page = await Self.get("/")
        #expect(Self.header("ETag", of: page) != tag)
    }

    @Test(
        "nothing but the compiled files is served",
        arguments: [
            "/assets/", "/assets", "/assets/nothing.js", "/assets/../index.html", "/index.html",
            "/assets/../../etc/passwd", "/assets/%2e%2e/%2e%2e/etc/passwd", "/assets//style.css",
            "/../etc/passwd", "//", "/assets/views", "/assets/views/", "/web/index.html", "/Portal",
            "/assets/style.css/", "/assets/..\\..\\x", "/assets/style.css\u{0}.js", "/portal.html",
        ]
    )
    func traversal(path: String) async {
        let reply = await Self.get(path)
        #expect(reply.status == 404, "\(path)")
        #expect(Self.header("Content-Type", of: reply) == "application/problem+json")
    }

    @Test("pages are only read")
    func methods() async {
        #expect(await Self.get("/", method: "HEAD").status == 200)
        for method in ["POST", "PUT", "DELETE"] {
            let reply = await Self.get("/assets/style.css", method: method)
            #expect(reply.status == 405)
            #expect(Self.header("Allow", of: reply) == "GET, HEAD")
        }
    }

    @Test("the chart library comes from the system's file, and its absence is no error")
    func chartScript() async throws {
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("sluice-web-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("chart.min.js")
        try Data("globalThis.Chart = 1".utf8).write(to: file)
        let there = await Self.get("/assets/chart.js", Self.api(chartScript: file.path))
        #expect(there.status == 200 && there.body == Array("globalThis.Chart = 1".utf8))
        let missing = await Self.get("/assets/chart.js")
        #expect(missing.status == 200)
        #expect(Self.header("Content-Type", of: missing) == "text/javascript; charset=utf-8")
        #expect(String(decoding: missing.body, as: UTF8.self).hasPrefix("// Chart.js is not"))
        #expect(Self.header("ETag", of: missing) != Self.header("ETag", of: there))
        try Data(repeating: UInt8(ascii: " "), count: 3 << 20).write(to: file)
        let large = await Self.get("/assets/chart.js", Self.api(chartScript: file.path))
        #expect(large.body == missing.body)
    }
}
