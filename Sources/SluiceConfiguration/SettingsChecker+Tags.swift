import Rollups

extension SettingsChecker {
    /// Most tags of an API; chosen: each makes every record longer.
    private static let tagsMax = 16

    /// Header fields whose values let somebody in, in lower case.
    private static let credentials: Set<String> = [
        "authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key",
    ]

    /// Finds what is wrong with the tags of an API.
    mutating func checkTags(_ api: ConfigurationNode, index: Int) {
        guard let list = api["tags"], let tags = list.elements else { return }
        let path = "gateway.apis[\(index)].tags"
        if tags.count > Self.tagsMax {
            problem(list, path, "has \(tags.count) tags; give at most \(Self.tagsMax)")
        }
        var names: [String: Int] = [:]
        for (number, tag) in tags.enumerated() {
            let path = "\(path)[\(number)]"
            if let node = tag["name"], let name = node.text {
                if Dimension(name: Dimension.tagPrefix + name) == nil {
                    problem(
                        node,
                        path + ".name",
                        "\"\(name)\" is no name of a tag; write 1 to \(Dimension.tagNameMax) "
                            + "letters, digits, _, - or ."
                    )
                } else if let first = names[name] {
                    problem(
                        node,
                        path + ".name",
                        "\"\(name)\" is also the name of tags[\(first)]; choose another"
                    )
                } else {
                    names[name] = number
                }
            }
            checkSource(tag, api, path: path)
        }
    }

    /// Checks where the value of a tag comes from.
    private mutating func checkSource(
        _ tag: ConfigurationNode,
        _ api: ConfigurationNode,
        path: String
    ) {
        let (value, header) = (tag["value"], tag["header"])
        if (value?.text == nil) == (header?.text == nil) {
            let what = header?.text == nil ? "neither a value nor a header" : "a value and a header"
            problem(tag, path, "has \(what); give one of them")
        }
        if let limit = tag["bytes_max"], value?.text != nil, header?.text == nil {
            problem(limit, path + ".bytes_max", "is for values from a header; remove it")
        }
        guard let header, let name = header.text?.lowercased() else { return }
        let isKey =
            api["auth"]?["mode"]?.text == "key"
            && api["auth"]?["header"]?.text?.lowercased() == name
        if Self.credentials.contains(name) || isKey {
            problem(
                header,
                path + ".header",
                "\"\(header.text ?? "")\" carries credentials, which records must not hold; "
                    + "choose another field"
            )
        }
    }
}
