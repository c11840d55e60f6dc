import Gateway

/// Heads and what must become of them: the specification of the parsers in cases.
enum ParserTables {
    /// A request head and its verdict; nil accepts it.
    struct RequestCase: Sendable, CustomStringConvertible {
        var input: String
        var rejection: HTTPRejection?

        init(_ input: String, _ rejection: HTTPRejection? = nil) {
            self.input = input
            self.rejection = rejection
        }

        var description: String {
            let text = input.count > 60 ? "\(input.prefix(60))…" : input
            return text.replacing("\r", with: "\\r").replacing("\n", with: "\\n")
        }
    }

    /// A request head with one header section behind a good request line and `Host`.
    private static func fields(_ text: String, _ rejection: HTTPRejection? = nil) -> RequestCase {
        RequestCase("POST /p HTTP/1.1\r\nHost: h\r\n\(text)\r\n", rejection)
    }

    /// A request line behind which everything is in order.
    private static func line(_ text: String, _ rejection: HTTPRejection? = nil) -> RequestCase {
        RequestCase("\(text)\r\nHost: h\r\n\r\n", rejection)
    }

    static let requests: [RequestCase] =
        requestLines + targets + versions + hosts + hostNames + fieldNames + fieldValues
        + lineEnds + framing + connection + long

    static let requestLines: [RequestCase] = [
        line("GET / HTTP/1.1"), line("GET /a/b?c=d HTTP/1.1"), line("PROPFIND /x HTTP/1.1"),
        line("M-SEARCH /x HTTP/1.1"), line("get / HTTP/1.1"), line("X / HTTP/1.1"),
        line("!#$%&'*+-.^_`|~ / HTTP/1.1"), line("\r\nGET / HTTP/1.1"),
        line("\r\n\r\nGET / HTTP/1.1", .badStartLine), line("\nGET / HTTP/1.1", .badStartLine),
        line("\rGET / HTTP/1.1", .badLineEnd), line(" GET / HTTP/1.1", .badStartLine),
        line("\tGET / HTTP/1.1", .badStartLine), line("GET  / HTTP/1.1", .badStartLine),
        line("GET /  HTTP/1.1", .badStartLine), line("GET / HTTP/1.1 ", .badStartLine),
        line("GET\t/ HTTP/1.1", .badStartLine), line("GET /\tHTTP/1.1", .badStartLine),
        line("GET /", .badStartLine), line("GET", .badStartLine), line("", .badStartLine),
        line("GET / ", .badStartLine), line("GET HTTP/1.1", .badStartLine),
        line("/ HTTP/1.1", .badStartLine), line("G(T / HTTP/1.1", .badStartLine),
        line("GET: / HTTP/1.1", .badStartLine), line("G\u{7f}T / HTTP/1.1", .badStartLine),
        line("G\u{0}T / HTTP/1.1", .badStartLine), line("GÉT / HTTP/1.1", .badStartLine),
        line("Extra GET / HTTP/1.1", .badStartLine), line("GET / HTTP/1.1 x", .badStartLine),
        line("GET / / HTTP/1.1", .badStartLine), line("\u{16}\u{3}\u{1} / HTTP/1.1", .badStartLine),
        line("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH / HTTP/1.1"),
        line("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHI / HTTP/1.1", .badStartLine),
        line("PRI * HTTP/2.0", .badStartLine), line("GET / HTTP/1.1\r", .badLineEnd),
    ]

    static let targets: [RequestCase] = [
        line("GET /%20%zz HTTP/1.1"), line("GET /a;b=c,d:e@f!g$h&i'j(k)l*m+n HTTP/1.1"),
        line("GET /{a}|[b]^`\\ HTTP/1.1"), line("GET // HTTP/1.1"), line("GET /? HTTP/1.1"),
        line("GET /?? HTTP/1.1"), line("GET /?a=/../b HTTP/1.1"), line("OPTIONS * HTTP/1.1"),
        line("GET * HTTP/1.1", .badStartLine), line("OPTIONS ** HTTP/1.1", .badStartLine),
        line("GET /#x HTTP/1.1", .badStartLine), line("GET /\" HTTP/1.1", .badStartLine),
        line("GET /<x> HTTP/1.1", .badStartLine), line("GET /é HTTP/1.1", .badStartLine),
        line("GET /\u{1} HTTP/1.1", .badStartLine), line("GET /\u{7f} HTTP/1.1", .badStartLine),
        line("GET x HTTP/1.1", .badStartLine), line("GET x/y HTTP/1.1", .badStartLine),
        line("GET ?x HTTP/1.1", .badStartLine), line("GET example.com:80 HTTP/1.1", .badStartLine),
        line("CONNECT example.com:80 HTTP/1.1", .badStartLine), line("CONNECT / HTTP/1.1"),
        line("GET http://a.b/c?d HTTP/1.1"), line("GET HTTP://a.b/c HTTP/1.1"),
        line("GET http://a.b HTTP/1.1"), line("GET http://a.b?c HTTP/1.1"),
        line("GET http://a.b:8080/ HTTP/1.1"), line("GET http://[::1]:80/ HTTP/1.1"),
        line("GET https://a.b/ HTTP/1.1", .badStartLine),
        line("GET ftp://a/ HTTP/1.1", .badStartLine),
        line("GET http:/a/ HTTP/1.1", .badStartLine), line("GET http:// HTTP/1.1", .badStartLine),
        line("GET http:///x HTTP/1.1", .badHost), line("GET http://u@h/ HTTP/1.1", .badHost),
        line("GET http://h:x/ HTTP/1.1", .badHost), line("GET http://h:99999/ HTTP/1.1", .badHost),
        line("GET /. HTTP/1.1", .dotSegment), line("GET /.. HTTP/1.1", .dotSegment),
        line("GET /a/../b HTTP/1.1", .dotSegment), line("GET /a/./b HTTP/1.1", .dotSegment),
        line("GET /a/%2e%2E/b HTTP/1.1", .dotSegment), line("GET /a/.%2e HTTP/1.1", .dotSegment),
        line("GET /%2e HTTP/1.1", .dotSegment), line("GET /... HTTP/1.1"),
        line("GET /.a/..b/c.. HTTP/1.1"), line("GET /%2e%2e%2e HTTP/1.1"),
        line("GET http://h/../x HTTP/1.1", .dotSegment),
    ]

    static let versions: [RequestCase] = [
        line("GET / HTTP/1.0"), line("GET / HTTP/1.2", .badVersion),
        line("GET / HTTP/1.9", .badVersion),
        line("GET / HTTP/2.0", .badVersion), line("GET / HTTP/0.9", .badVersion),
        line("GET / HTTP/9.9", .badVersion), line("GET / HTTP/1", .badStartLine),
        line("GET / HTTP/11", .badStartLine), line("GET / HTTP/1.10", .badStartLine),
        line("GET / HTTP/1,1", .badStartLine), line("GET / http/1.1", .badStartLine),
        line("GET / HTTPS/1.1", .badStartLine), line("GET / HTTP 1.1", .badStartLine),
        line("GET / HTTP/1.1\u{0}", .badStartLine), line("GET / HTTP/x.1", .badStartLine),
        line("GET / HTTP/1.x", .badStartLine), line("GET / HTTP/-1.1", .badStartLine),
        line("GET / ICY/1.1", .badStartLine), line("GET / HTTP/1.1/", .badStartLine),
    ]

    static let hosts: [RequestCase] = [
        RequestCase("GET / HTTP/1.1\r\n\r\n", .missingHost),
        RequestCase("GET / HTTP/1.1\r\nHosts: h\r\n\r\n", .missingHost),
        RequestCase("GET / HTTP/1.1\r\nX-Host: h\r\n\r\n", .missingHost),
        RequestCase("GET http://h/ HTTP/1.1\r\n\r\n", .missingHost),
        RequestCase("GET / HTTP/1.0\r\n\r\n"), RequestCase("GET / HTTP/1.0\r\nHost: h\r\n\r\n"),
        RequestCase("GET / HTTP/1.1\r\nhOsT:h\r\n\r\n"),
        RequestCase("GET / HTTP/1.1\r\nHost:\t h \t\r\n\r\n"),
        RequestCase("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", .duplicateHost),
        RequestCase("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", .duplicateHost),
        RequestCase("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", .duplicateHost),
        RequestCase("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
    ]

    static let hostNames: [RequestCase] = [
        ("h", true), ("example.com", true), ("example.com:80", true), ("example.com:", true),
        ("127.0.0.1:8080", true), ("[::1]", true), ("[::1]:443", true),
        ("[2001:db8::1.2.3.4]", true),
        ("a-b_c~d", true), ("%41", true), ("h:0", true), ("h:65535", true), ("", false),
        (":80", false), ("h:65536", false), ("h:123456", false), ("h:8a", false), ("h:-1", false),
        ("h:80:80", false), ("a b", false), ("a,b", true), ("a/b", false), ("http://h", false),
        ("u@h", false), ("a?b", false), ("a#b", false), ("[::1", false), ("::1", false),
        ("[]", false), ("[g::]", false), ("[::1]x", false), ("a\\b", false), ("a\"b", false),
        ("a<b", false), ("é", false), ("h\u{7f}", false),
    ].map { name, isGood in
        let rejection: HTTPRejection? = name.contains("\u{7f}") ? .badFieldValue : .badHost
        return RequestCase("GET / HTTP/1.1\r\nHost: \(name)\r\n\r\n", isGood ? nil : rejection)
    }

    static let fieldNames: [RequestCase] = [
        fields("X: y\r\n"), fields("x-_.~!#$%&'*+^`|09: y\r\n"), fields("X:y\r\n"),
        fields("X:\r\n"),
        fields("X: \r\n"), fields("X:  \t \r\n"), fields(": y\r\n", .badFieldName),
        fields("X : y\r\n", .badFieldName), fields("X\t: y\r\n", .badFieldName),
        fields("X Y: z\r\n", .badFieldName), fields("X\r\n", .badFieldName),
        fields("X[]: y\r\n", .badFieldName), fields("X(: y\r\n", .badFieldName),
        fields("X@: y\r\n", .badFieldName), fields("X/Y: z\r\n", .badFieldName),
        fields("É: y\r\n", .badFieldName), fields("X\u{0}: y\r\n", .badFieldName),
        fields("X\u{7f}: y\r\n", .badFieldName), fields("\"X\": y\r\n", .badFieldName),
        fields(" X: y\r\n", .foldedField), fields("\tX: y\r\n", .foldedField),
        fields("X: y\r\n z\r\n", .foldedField), fields("X: y\r\n\tz\r\n", .foldedField),
        fields("Content-Length : 5\r\n", .badFieldName),
        fields("Transfer-Encoding : chunked\r\n", .badFieldName),
        RequestCase("GET / HTTP/1.1\r\n Host: h\r\n\r\n", .foldedField),
        RequestCase("GET / HTTP/1.1\r\nHost : h\r\n\r\n", .badFieldName),
    ]

    static let fieldValues: [RequestCase] = [
        fields("X: a b\tc\r\n"), fields("X: é\r\n"), fields("X: :;,\"\\()<>@[]{}?=/\r\n"),
        fields("X: \u{1}\r\n", .badFieldValue), fields("X: a\u{0}b\r\n", .badFieldValue),
        fields("X: a\u{8}b\r\n", .badFieldValue), fields("X: a\u{b}b\r\n", .badFieldValue),
        fields("X: a\u{1f}b\r\n", .badFieldValue), fields("X: a\u{7f}b\r\n", .badFieldValue),
        fields("X:\u{1}\r\n", .badFieldValue), fields("X: \u{c}\r\n", .badFieldValue),
        fields("X: a\u{1b}[0m\r\n", .badFieldValue),
    ]

    static let lineEnds: [RequestCase] = [
        RequestCase("GET / HTTP/1.1\nHost: h\n\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\nHost: h\n\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\nHost: h\r\n\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\rHost: h\r\n\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\nHost: h\r\n\rX: y\r\n\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\nHost: h\r\n\r\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\nHost: h\r\nX: a\nY: b\r\n\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\nHost: h\r\nX:\n\r\n", .badLineEnd),
        RequestCase("GET / HTTP/1.1\r\n\nHost: h\r\n\r\n", .badLineEnd),
    ]

    static let framing: [RequestCase] = [
        fields("Content-Length: 0\r\n"), fields("Content-Length: 5\r\n"),
        fields("Content-Length:5\r\n"),
        fields("Content-Length: 0005\r\n"), fields("Content-Length: 999999999999999999\r\n"),
        fields("Content-Length: 9999999999999999999\r\n", .badContentLength),
        fields("Content-Length: 99999999999999999999999\r\n", .badContentLength),
        fields("Content-Length: 18446744073709551616\r\n", .badContentLength),
        fields("Content-Length: -1\r\n", .badContentLength),
        fields("Content-Length: +1\r\n", .badContentLength),
        fields("Content-Length: 1 1\r\n", .badContentLength),
        fields("Content-Length: 1,1\r\n", .badContentLength),
        fields("Content-Length: 5, 5\r\n", .badContentLength),
        fields("Content-Length: 0x5\r\n", .badContentLength),
        fields("Content-Length: 5.0\r\n", .badContentLength),
        fields("Content-Length: 5e1\r\n", .badContentLength),
        fields("Content-Length: five\r\n", .badContentLength),
        fields("Content-Length: \r\n", .badContentLength),
        fields("Content-Length:\r\n", .badContentLength),
        fields("Content-Length: \"5\"\r\n", .badContentLength),
        fields("Content-Length: 5;x\r\n", .badContentLength),
        fields("Content-Length: 5_0\r\n", .badContentLength),
        fields("Content-Length: ５\r\n", .badContentLength),
        fields("Content-Length: 5\r\nContent-Length: 5\r\n", .duplicateContentLength),
        fields("Content-Length: 5\r\nContent-Length: 6\r\n", .duplicateContentLength),
        fields("Content-Length: 5\r\ncontent-length: 0\r\n", .duplicateContentLength),
        fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", .lengthAndCoding),
        fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", .lengthAndCoding),
        fields("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", .lengthAndCoding),
        fields("Transfer-Encoding: chunked\r\n"), fields("transfer-encoding:CHUNKED\r\n"),
        fields("Transfer-Encoding: chunked \r\n"),
        fields("Transfer-Encoding: identity\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: gzip, chunked\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: chunked, gzip\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: chunked, chunked\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: chunked,\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: ,chunked\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: \r\n", .badTransferEncoding),
        fields("Transfer-Encoding: xchunked\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: chunkedx\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: \"chunked\"\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: chunked;q=1\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: chu nked\r\n", .badTransferEncoding),
        fields("Transfer-Encoding: \u{b}chunked\r\n", .badFieldValue),
        fields(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            .badTransferEncoding
        ),
        fields(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            .badTransferEncoding
        ),
        fields(
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            .badTransferEncoding
        ),
        fields("Transfer-Encoding:\r\n chunked\r\n", .badTransferEncoding),
        RequestCase(
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            .badTransferEncoding
        ),
        fields("Transfer_Encoding: chunked\r\n"), fields("X-Transfer-Encoding: gzip\r\n"),
        fields("Content-Lengthx: 1\r\nContent-Length: 1\r\n"),
    ]

    static let connection: [RequestCase] = [
        fields("Connection: close\r\n"), fields("Connection: keep-alive, X\r\n"),
        fields("Connection: ,,\r\n"), fields("Expect: 100-continue\r\n"), fields("Expect: x\r\n"),
        fields("Upgrade: h2c\r\nHTTP2-Settings: x\r\nConnection: Upgrade\r\n"),
        fields("TE: trailers\r\n"), fields("X-Forwarded-For: garbage\r\n"),
    ]

    static let long: [RequestCase] = [
        RequestCase("GET /\(String(repeating: "a", count: 8_000)) HTTP/1.1\r\nHost: h\r\n\r\n"),
        RequestCase(
            "GET /\(String(repeating: "a", count: 8_192)) HTTP/1.1\r\nHost: h\r\n\r\n",
            .requestLineTooLong
        ),
        RequestCase("GET /\(String(repeating: "a", count: 9_000))", .requestLineTooLong),
        fields("X: \(String(repeating: "a", count: 30_000))\r\n"),
        fields("X: \(String(repeating: "a", count: 40_000))\r\n", .headTooLong),
        fields("X: \(String(repeating: " ", count: 40_000))\r\n", .headTooLong),
        fields("\(String(repeating: "a", count: 40_000)): x\r\n", .headTooLong),
        fields(String(repeating: "X: y\r\n", count: 99)),
        fields(String(repeating: "X: y\r\n", count: 100), .tooManyFields),
        fields(String(repeating: "X: y\r\n", count: 9_000), .tooManyFields),
    ]
}
