import ArgumentParser
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import SluiceConfiguration

/// Where the query API is and how to enter it.
struct ServerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Address of the query API. Default: $SLUICE_URL, else as the data directory says.",
            valueName: "url"
        )
    )
    var url: String?

    @Option(
        help: ArgumentHelp(
            "Bearer token. Default: $SLUICE_TOKEN, else DATA/admin.token.",
            valueName: "token"
        )
    )
    var token: String?

    /// The server's base URL and the token, from flags, environment or data directory.
    func resolve(_ options: ConfigurationOptions) throws -> QueryClient {
        let environment = ProcessInfo.processInfo.environment
        func given(_ flag: String?, _ variable: String) -> String? {
            if let flag { return flag }
            return environment[variable].flatMap { $0.isEmpty ? nil : $0 }
        }
        var base = given(url, "SLUICE_URL")
        var bearer = given(token, "SLUICE_TOKEN")
        if base == nil || bearer == nil {
            let settings = try options.load()
            let data = DataDirectory(settings.data)
            if base == nil {
                base =
                    ProcessRegistry(data).running().compactMap(\.serve).first
                    ?? "http://\(settings.serve.listen)"
            }
            if bearer == nil { bearer = data.adminToken() }
            if bearer == nil {
                throw CommandFailure.usage(
                    "there is no \(data.path)/admin.token; give --token, set SLUICE_TOKEN, or name "
                        + "the data directory of a running server with --data"
                )
            }
        }
        guard let base, let parts = URLComponents(string: base),
            ["http", "https"].contains(parts.scheme), parts.host?.isEmpty == false
        else {
            throw CommandFailure.usage(
                "--url: \"\(base ?? "")\" is not of the form http://host:port"
            )
        }
        return QueryClient(
            base: base.hasSuffix("/") ? String(base.dropLast()) : base,
            token: bearer ?? ""
        )
    }
}

/// A client of the query API.
struct QueryClient: Sendable {
    /// Base URL without trailing slash.
    let base: String
    /// Bearer token.
    let token: String

    /// Largest answer read; chosen: 10,000 rows of 40 metrics take a tenth.
    private static let answerBytesMax = 64 << 20

    /// Sends a GET and returns the body of a success; anything else is a failure in the server's
    /// own words.
    func get(_ path: String, _ parameters: [(String, String)]) async throws -> String {
        let query = parameters.map { "\(Self.encoded($0.0))=\(Self.encoded($0.1))" }
            .joined(separator: "&")
        var request = HTTPClientRequest(url: base + path + (query.isEmpty ? "" : "?" + query))
        request.headers.add(name: "Authorization", value: "Bearer \(token)")
        request.headers.add(name: "User-Agent", value: "sluice-cli")
        let response: HTTPClientResponse
        let body: String
        do {
            (response, body) = try await Self.send(request)
        } catch {
            throw CommandFailure.failed(
                "could not reach the query API at \(base): \(error); is `sluice up` or `sluice "
                    + "serve` running? Name it with --url, or its data directory with --data"
            )
        }
        guard response.status == .ok else {
            throw Self.failure(status: Int(response.status.code), body)
        }
        return body
    }

    /// One exchange over a connection of its own; a refused connection fails at once.
    private static func send(
        _ request: HTTPClientRequest
    ) async throws -> (HTTPClientResponse, String) {
        var configuration = HTTPClient.Configuration()
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.timeout.connect = .seconds(10)
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        do {
            let response = try await client.execute(request, timeout: .seconds(60))
            let bytes = try await response.body.collect(upTo: answerBytesMax)
            try await client.shutdown()
            return (response, String(buffer: bytes))
        } catch {
            try? await client.shutdown()
            throw error
        }
    }

    /// The server's problem document as a sentence; wrong parameters are wrong usage.
    private static func failure(status: Int, _ body: String) -> CommandFailure {
        struct Problem: Decodable {
            var title: String?
            var detail: String?
        }
        let problem = try? JSONDecoder().decode(Problem.self, from: Data(body.utf8))
        let text = [problem?.title, problem?.detail].compactMap { $0 }.joined(separator: ": ")
        let sentence = text.isEmpty ? "the query API answered status \(status)" : text
        return status == 400 || status == 422
            ? .usage(sentence) : .failed("\(sentence) (status \(status))")
    }

    private static func encoded(_ text: String) -> String {
        let plain = CharacterSet(
            charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
        )
        return text.addingPercentEncoding(withAllowedCharacters: plain) ?? ""
    }
}
