// For asc's option --transform: names the exports as WIT does.  AssemblyScript has no '-' in names, WIT no '_': so
// `geo_distance` is exported as `geo-distance`, and `cabi_post_geo_distance` as `cabi_post_geo-distance`.
export default class {
  afterCompile(module) {
    const exports = [];
    for (let i = 0; i < module.getNumExports(); i++) {
      exports.push(this.binaryen.getExportInfo(module.getExportByIndex(i)));
    }
    for (const { kind, name, value } of exports) {
      const prefix = name.startsWith("cabi_post_") ? "cabi_post_" : "";
      const wit = prefix + name.slice(prefix.length).replaceAll("_", "-");
      if (kind !== this.binaryen.ExternalFunction || name === "cabi_realloc" || name.startsWith("_") || wit === name) continue;
      module.removeExport(name);
      module.addFunctionExport(value, wit);
    }
  }
}
