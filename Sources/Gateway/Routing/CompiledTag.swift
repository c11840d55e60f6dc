/// A tag in the form that the request path reads.
struct CompiledTag: Sendable {
    /// Its name, in bytes as recorded.
    let name: [UInt8]
    /// Its value, if that is fixed.
    let value: [UInt8]
    /// Field that carries its value, in lower case; nil for a fixed one.
    let header: [UInt8]?
    /// Longest value from a field.
    let bytesMax: Int

    /// Compiles a tag of an API.
    ///
    /// - Throws: `invalidConfiguration`.
    init(_ tag: GatewayTag, of api: GatewayAPI) throws(GatewayError) {
        name = Array(tag.name.utf8)
        switch tag.source {
        case .fixed(let text):
            value = Array(text.utf8)
            header = nil
            bytesMax = 0
        case .header(let field, let limit):
            guard !field.isEmpty, field.utf8.allSatisfy(ByteClass.isToken) else {
                throw .invalidConfiguration(
                    "\"\(field)\" of a tag of API \"\(api.id)\" is no name of a header field"
                )
            }
            value = []
            header = field.utf8.map(ByteClass.lowercase)
            bytesMax = limit
        }
    }

    /// The most that the tag adds to a record: name, value, and their lengths and numbers.
    var recordBytesMax: Int { name.count + value.count + bytesMax + 16 }
}
