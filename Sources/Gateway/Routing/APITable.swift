internal import Records

/// The configured APIs in the form that the request path reads: built once, shared by all loops.
final class APITable: Sendable {
    /// The APIs, in the order of the configuration.
    let apis: [CompiledAPI]
    private let trie: SegmentTrie

    /// Compiles the APIs of a configuration.
    ///
    /// - Throws: `invalidConfiguration`.
    init(_ configuration: GatewayConfiguration) throws(GatewayError) {
        var compiled: [CompiledAPI] = []
        var paths: [String: String] = [:]
        var trie = SegmentTrie()
        for (index, api) in configuration.apis.enumerated() {
            compiled.append(try CompiledAPI(api, index: index))
            let path = api.listenPath.hasSuffix("/") ? api.listenPath : api.listenPath + "/"
            if let other = paths.updateValue(api.id, forKey: path) {
                throw .invalidConfiguration(
                    "APIs \"\(other)\" and \"\(api.id)\" have the same listen path \"\(path)\""
                )
            }
            trie.insert(path, entry: index, hasTemplates: false)
        }
        apis = compiled
        self.trie = trie
    }

    /// The API that a path belongs to: longest listen path first.
    func api(of path: Span<UInt8>) -> CompiledAPI? {
        trie.longestPrefix(path).map { apis[$0] }
    }
}

/// One API in the form that the request path reads.
final class CompiledAPI: Sendable {
    /// Place in the table.
    let index: Int
    /// Organisation, in bytes as recorded.
    let org: [UInt8]
    /// Organisation, for comparison with keys.
    let orgName: String
    /// Name, in bytes as recorded.
    let id: [UInt8]
    /// Version, in bytes as recorded; empty for none.
    let version: [UInt8]
    /// How many bytes of the path to take off; the listen path without its last slash.
    let stripCount: Int
    /// Where requests go.
    let upstreams: [UpstreamAddress]
    /// Field that carries the API key, in lower case; nil when there is no authentication.
    let keyHeader: [UInt8]?
    /// Tags of its records.
    let tags: [CompiledTag]
    /// The most that this API adds to a record.
    let recordBytesMax: Int

    private let routeNames: [[UInt8]]
    private let routeMethods: [RouteMethod]
    private let routes: SegmentTrie

    /// The method of a route.
    private enum RouteMethod: Sendable {
        /// All methods.
        case any
        /// One that is recorded by name.
        case known(RequestMethod)
        /// One that is not, by its bytes.
        case named([UInt8])
    }

    fileprivate init(_ api: GatewayAPI, index: Int) throws(GatewayError) {
        guard api.listenPath.hasPrefix("/") else {
            throw .invalidConfiguration(
                "listen path \"\(api.listenPath)\" of API \"\(api.id)\" does not begin with \"/\""
            )
        }
        guard !api.upstreams.isEmpty else {
            throw .invalidConfiguration("API \"\(api.id)\" has no upstream")
        }
        for upstream in api.upstreams where !(1...65_535).contains(upstream.port) {
            throw .invalidConfiguration("upstream \"\(upstream)\" of API \"\(api.id)\" has no port")
        }
        self.index = index
        org = Array(api.org.utf8)
        orgName = api.org
        id = Array(api.id.utf8)
        version = Array(api.version.utf8)
        let path = api.listenPath.utf8
        stripCount = api.stripsListenPath ? (path.last == 0x2F ? path.count - 1 : path.count) : 0
        upstreams = api.upstreams
        switch api.authentication {
        case .none: keyHeader = nil
        case .key(let header):
            guard !header.isEmpty, header.utf8.allSatisfy(ByteClass.isToken) else {
                throw .invalidConfiguration(
                    "\"\(header)\" of API \"\(api.id)\" is no name of a header field"
                )
            }
            keyHeader = header.utf8.map(ByteClass.lowercase)
        }
        var tags: [CompiledTag] = []
        for tag in api.tags { tags.append(try CompiledTag(tag, of: api)) }
        self.tags = tags
        var trie = SegmentTrie()
        for (number, route) in api.routes.enumerated() {
            guard route.path.hasPrefix("/") else {
                throw .invalidConfiguration(
                    "route \"\(route.path)\" of API \"\(api.id)\" does not begin with \"/\""
                )
            }
            trie.insert(route.path, entry: number, hasTemplates: true)
        }
        routes = trie
        routeNames = api.routes.map { Array($0.name.utf8) }
        routeMethods = api.routes.map { route in
            guard let method = route.method else { return .any }
            let known = RequestMethod(method)
            return known == .other ? .named(Array(method.utf8)) : .known(known)
        }
        let routeBytes = routeNames.reduce(Route.unmatched.utf8.count) { max($0, $1.count) }
        let upstreamBytes = api.upstreams.reduce(0) { max($0, $1.description.utf8.count) }
        recordBytesMax =
            org.count + id.count + version.count + routeBytes + upstreamBytes
            + tags.reduce(0) { $0 + $1.recordBytesMax }
    }

    /// The number of the route that a request matches; nil for none.
    func route(
        of path: Span<UInt8>,
        method: RequestMethod,
        methodBytes: Span<UInt8>
    ) -> Int? {
        routes.match(path) { number in
            switch routeMethods[number] {
            case .any: return true
            case .known(let known): return known == method
            case .named(let name):
                guard method == .other, name.count == methodBytes.count else { return false }
                for index in 0..<name.count where name[index] != methodBytes[index] {
                    return false
                }
                return true
            }
        }
    }

    /// The template of a route, in bytes as recorded.
    func routeName(_ number: Int) -> [UInt8] { routeNames[number] }
}
