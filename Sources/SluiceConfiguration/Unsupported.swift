/// What the schema knows but this version does not do: the one table.
enum Unsupported {
    /// The words that every such message contains.
    static let phrase = "not supported by this version"

    /// Paths of keys that may not be given at all, with what to do instead; `[]` is any element.
    static let keys: [(path: String, instead: String)] = [
        ("gateway.apis[].rate_limit", "leave it out, and limit in the upstream")
    ]

    /// Keys of sinks that may not be given; a Kafka sink must never have them, so that the checker
    /// and not the schema tells them apart.
    static let sinkKeys: [(name: String, instead: String)] = [
        ("filter", "leave it out: every record goes to the sink"),
        ("sample", "leave it out: every record goes to the sink"),
    ]

    /// Values that may not be given, by the path of their key.
    static let values: [(path: String, value: String, instead: String)] = [
        ("gateway.apis[].auth.mode", "jwt", "write key or none")
    ]
}
