import Gateway

/// Response heads and chunked bodies, and what must become of them.
enum ResponseTables {
    /// A head and its verdict.
    struct Case: Sendable {
        var input: String
        var rejection: HTTPRejection?
        var framing: BodyFraming?

        init(_ input: String, _ rejection: HTTPRejection?) {
            self.input = input
            self.rejection = rejection
        }

        init(_ input: String, framing: BodyFraming) {
            self.input = input
            self.framing = framing
        }
    }

    private static func line(_ text: String, _ rejection: HTTPRejection? = nil) -> Case {
        Case("\(text)\r\n\r\n", rejection)
    }

    private static func fields(_ text: String, _ rejection: HTTPRejection?) -> Case {
        Case("HTTP/1.1 200 OK\r\n\(text)\r\n", rejection)
    }

    private static func framed(_ text: String, _ framing: BodyFraming) -> Case {
        Case("HTTP/1.1 200 OK\r\n\(text)\r\n", framing: framing)
    }

    static let heads: [Case] = [
        line("HTTP/1.1 200 OK"), line("HTTP/1.0 200 OK"), line("HTTP/1.1 200 "),
        line("HTTP/1.1 200"),
        line("HTTP/1.1 404 Not  Found\té"), line("HTTP/1.1 100 Continue"), line("HTTP/1.1 599 x"),
        line("HTTP/1.1 099 x", .badStartLine), line("HTTP/1.1 600 x", .badStartLine),
        line("HTTP/1.1 999 x", .badStartLine), line("HTTP/1.1 20 x", .badStartLine),
        line("HTTP/1.1 2000 x", .badStartLine), line("HTTP/1.1  200 x", .badStartLine),
        line("HTTP/1.1 20x x", .badStartLine), line("HTTP/1.1 -20 x", .badStartLine),
        line("HTTP/2 200 OK", .badStartLine), line("HTTP/1.2 200 OK", .badVersion),
        line("HTTP/2.0 200 OK", .badStartLine), line("http/1.1 200 OK", .badStartLine),
        line("200 OK", .badStartLine), line("", .badStartLine),
        line("\r\nHTTP/1.1 200 OK", .badStartLine),
        line("HTTP/1.1 200 \u{0}", .badStartLine), line("HTTP/1.1 200 a\u{7f}", .badStartLine),
        line("ICY 200 OK", .badStartLine), line("\u{16}\u{3}\u{1}", .badStartLine),
        line("HTTP/1.1 101 Switching", .badResponse),
        Case("HTTP/1.1 200 OK\n\n", .badLineEnd),
        Case("HTTP/1.1 200 OK\r\nX: y\n\r\n", .badLineEnd),
        Case("HTTP/1.1 200 OK\rX\r\n\r\n", .badLineEnd),
        fields("X : y\r\n", .badFieldName), fields(" X: y\r\n", .foldedField),
        fields("X: y\r\n folded\r\n", .foldedField), fields("X: \u{1}\r\n", .badFieldValue),
        fields("Content-Length: x\r\n", .badContentLength),
        fields("Content-Length: 5,5\r\n", .badContentLength),
        fields("Content-Length: 5\r\nContent-Length: 5\r\n", .duplicateContentLength),
        fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", .lengthAndCoding),
        fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", .lengthAndCoding),
        fields("Transfer-Encoding: gzip\r\n", .badTransferEncoding),
        fields(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            .badTransferEncoding
        ),
        Case("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .badTransferEncoding),
        Case("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", .badResponse),
        Case("HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", .badResponse),
        Case("HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", framing: .none),
        Case("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", framing: .none),
        Case("HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", framing: .none),
        Case("HTTP/1.1 100 x\r\nContent-Length: 5\r\n\r\n", .badResponse),
        framed("Content-Length: 5\r\n", .length(5)), framed("Content-Length: 0\r\n", .length(0)),
        framed("Transfer-Encoding: chunked\r\n", .chunked), framed("X: y\r\n", .untilClose),
        framed("", .untilClose),
    ]

    /// Chunked bodies: what they decode to, and how many trailer fields follow; nil refuses.
    static let chunked: [(input: String, data: String?, trailers: Int)] = [
        ("0\r\n\r\n", "", 0), ("5\r\nhello\r\n0\r\n\r\n", "hello", 0),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", 0),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0),
        ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0),
        ("0005\r\nhello\r\n0\r\n\r\n", "hello", 0), ("00\r\n\r\n", "", 0),
        ("5;x\r\nhello\r\n0\r\n\r\n", "hello", 0),
        ("5;x=y;z=\"a b\"\r\nhello\r\n0;e\r\n\r\n", "hello", 0),
        ("5;\r\nhello\r\n0\r\n\r\n", "hello", 0), ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0),
        ("5\r\nhello\r\n0\r\nX: y\r\n\r\n", "hello", 1), ("0\r\nX: y\r\nZ: \r\n\r\n", "", 2),
        ("", nil, 0), ("5\nhello\r\n0\r\n\r\n", nil, 0), ("5\r\nhello\n0\r\n\r\n", nil, 0),
        ("5\r\nhello0\r\n\r\n", nil, 0), ("5\r\nhellox\r\n0\r\n\r\n", nil, 0),
        ("4\r\nhello\r\n0\r\n\r\n", nil, 0), ("6\r\nhello\r\n0\r\n\r\n", nil, 0),
        ("\r\n", nil, 0), ("g\r\n", nil, 0), ("-1\r\n", nil, 0), ("+5\r\nhello\r\n", nil, 0),
        ("0x5\r\nhello\r\n0\r\n\r\n", nil, 0), (" 5\r\nhello\r\n0\r\n\r\n", nil, 0),
        ("5 \r\nhello\r\n0\r\n\r\n", nil, 0), ("5 ;x\r\nhello\r\n0\r\n\r\n", nil, 0),
        ("5\t\r\nhello\r\n0\r\n\r\n", nil, 0), ("5\r\r\nhello\r\n0\r\n\r\n", nil, 0),
        ("5;x\nhello\r\n0\r\n\r\n", nil, 0), ("5;\u{1}\r\nhello\r\n0\r\n\r\n", nil, 0),
        ("5,5\r\nhello\r\n0\r\n\r\n", nil, 0), ("5.0\r\nhello\r\n", nil, 0),
        ("FFFFFFFFFFFFFFFF\r\n", nil, 0), ("10000000000000000\r\n", nil, 0),
        ("100000000000000000005\r\nhello\r\n", nil, 0), ("0\r\nX : y\r\n\r\n", nil, 0),
        ("0\r\n X: y\r\n\r\n", nil, 0), ("0\r\nX: y\n\r\n", nil, 0), ("0\r\n\n", nil, 0),
        ("0\r\n\rx", nil, 0), ("0\r\nX: \u{0}\r\n\r\n", nil, 0), ("0\nX: y\r\n\r\n", nil, 0),
        ("5;\(String(repeating: "x", count: 5_000))\r\nhello\r\n0\r\n\r\n", nil, 0),
        ("0\r\nX: \(String(repeating: "x", count: 9_000))\r\n\r\n", nil, 0),
    ]
}
