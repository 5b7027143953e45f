#include "contract.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "failure.h"
#include "text.h"

namespace lstn {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 9;  // the newest that is known here
constexpr std::size_t kMostText = std::size_t(4) << 20, kMostLabels = 100'000, kMostName = 200;
constexpr int kMostSide = 8192, kMostWarps = 16;

struct Damage {
    std::string reason;
};

// Fields that every contract of a version has, and the first version that has them.
const std::map<std::string, int> kRequired{{"loc", 1},       {"backbone", 1}, {"image_hw", 1},  {"labels", 1},
                                           {"mean", 1},      {"std", 1},      {"theta", 2},     {"iterations", 3},
                                           {"at", 3},        {"view_hw", 4},  {"crop_hw", 4},   {"fit", 5},
                                           {"separator", 7}, {"noise", 8},    {"thresholds", 9}};

// Names that a field may have, and the first version that can say them.
const std::map<std::string, int> kTasks{{"classify", 4}, {"detect", 4},   {"read", 6},
                                        {"align", 7},    {"generate", 8}, {"tag", 9}};
const std::map<std::string, int> kLocalizers{{"none", 1},   {"stn", 1},      {"vstn", 1}, {"lstn", 1},
                                             {"shared", 3}, {"identity", 3}, {"dead", 3}, {"glance", 4}};
const std::map<std::string, int> kForms{{"affine", 1},     {"similarity", 1}, {"crop", 1},
                                        {"projective", 4}, {"tps", 4},        {"polar", 4}};
const std::map<std::string, int> kFits{{"stretch", 5}, {"letterbox", 5}, {"centre", 5}};

// The fields of one contract, each checked as it is read.
class Fields {
  public:
    Fields(Json object, int version) : object_(std::move(object)), version_(version) {
        for (const auto& [name, since] : kRequired)
            if (version >= since && !object_.contains(name)) throw Damage{"'" + name + "' is missing"};
    }

    // Whether this version has a field, and it is there.
    bool has(const std::string& name, int since) const { return version_ >= since && object_.contains(name); }

    std::string choice(const std::string& name, const std::map<std::string, int>& known) const {
        const Json& value = object_.at(name);
        const auto found = value.is_string() ? known.find(value.get<std::string>()) : known.end();
        if (found == known.end()) throw Damage{name + ": unknown value " + shown(value)};
        if (found->second > version_)
            throw Damage{"version " + std::to_string(version_) + " knows no " + name + " " + found->first};
        return found->first;
    }

    int whole_number(const Json& value, const std::string& name, int most) const {
        if (!value.is_number_integer() || value < 1 || value > most)
            throw Damage{name + ": expected 1 to " + std::to_string(most) + ", found " + shown(value)};
        return value.get<int>();
    }

    const Json& list(const std::string& name, std::size_t least, std::size_t most) const {
        const Json& value = object_.at(name);
        if (!value.is_array() || value.size() < least || value.size() > most)
            throw Damage{name + ": expected a list of " + std::to_string(least) + " to " + std::to_string(most)};
        return value;
    }

    const Json& operator[](const std::string& name) const { return object_.at(name); }

  private:
    static std::string shown(const Json& value) { return value.dump(-1, ' ', true).substr(0, 80); }

    Json object_;
    int version_;
};

// JSON in which no name stands twice in one object: two readers would take two values.
Json parsed(const std::string& text) {
    std::vector<std::set<std::string>> names;
    const auto callback = [&](int, Json::parse_event_t event, Json& value) {
        if (event == Json::parse_event_t::object_start) names.emplace_back();
        if (event == Json::parse_event_t::object_end) names.pop_back();
        if (event == Json::parse_event_t::key && !names.back().insert(value.get<std::string>()).second)
            throw Damage{"'" + value.get<std::string>().substr(0, 80) + "' stands twice"};
        return true;
    };
    try {
        Json object = Json::parse(text, callback);
        if (!object.is_object()) throw Damage{"expected an object"};
        return object;
    } catch (const Json::exception& error) {
        throw Damage{one_line(error.what(), 200)};
    }
}

std::vector<std::string> labels_of(const Fields& fields) {
    std::vector<std::string> labels;
    for (const Json& label : fields.list("labels", 1, kMostLabels)) {
        const std::size_t length = label.is_string() ? length_of(label.get_ref<const std::string&>()) : 0;
        if (length < 1 || length > kMostName)
            throw Damage{"labels: expected names of 1 to " + std::to_string(kMostName) + " characters"};
        labels.push_back(label.get<std::string>());
    }
    return labels;
}

// Around a letterboxed photo is what the sampler answers outside of it: the mean, 0..255.
Framing framing_of(const Fields& fields) {
    static const std::map<std::string, Fit> fits{
        {"stretch", Fit::stretch}, {"letterbox", Fit::letterbox}, {"centre", Fit::centre}};
    const Json& sides = fields.list("image_hw", 2, 2);
    Framing framing{};
    framing.input = {fields.whole_number(sides[1], "image_hw", kMostSide),
                     fields.whole_number(sides[0], "image_hw", kMostSide)};
    framing.fit = fields.has("fit", 5) ? fits.at(fields.choice("fit", kFits)) : Fit::stretch;
    const Json& mean = fields.list("mean", 3, 3);
    for (std::size_t channel = 0; channel < 3; ++channel) {
        if (!mean[channel].is_number() || !std::isfinite(mean[channel].get<double>()))
            throw Damage{"mean: expected three numbers"};
        const double colour = std::nearbyint(255 * mean[channel].get<double>());
        framing.fill[channel] = static_cast<std::uint8_t>(std::clamp(colour, 0.0, 255.0));
    }
    return framing;
}

std::vector<std::int64_t> theta_shape_of(const Fields& fields) {
    if (fields.choice("loc", kLocalizers) == "none") return {};
    const std::string form = fields.has("theta", 2) ? fields.choice("theta", kForms) : "affine";
    const int warps = fields.has("warps", 4) ? fields.whole_number(fields["warps"], "warps", kMostWarps) : 1;
    std::vector<std::int64_t> shape{2, 3};
    if (form == "projective") shape = {3, 3};
    if (form == "tps") shape = {16, 2};
    if (warps > 1) shape.insert(shape.begin(), warps);
    return shape;
}

Contract contract_of(const std::string& text, const std::string& path) {
    const Json object = parsed(text);
    const Json version = object.value("version", Json());
    if (!version.is_number_integer() || version < 1 || version > kVersion)
        throw Failure(path + ": contract version " + version.dump(-1, ' ', true).substr(0, 80) +
                          ", this program reads up to version " + std::to_string(kVersion),
                      "build a newer one, or export the model again");
    const Fields fields(object, version.get<int>());
    if (fields.has("task", 4) && fields.choice("task", kTasks) != "classify")
        throw UsageFailure(
            path + ": a model of task " + fields.choice("task", kTasks) + ", and this program classifies",
            "use lstn infer");
    return {labels_of(fields), theta_shape_of(fields), framing_of(fields)};
}

}  // namespace

Contract read_contract(const std::string& text, const std::string& path) {
    if (text.size() > kMostText)
        throw Failure(path + ": its contract is " + std::to_string(text.size()) + " bytes long, more than " +
                      std::to_string(kMostText));
    try {
        return contract_of(text, path);
    } catch (const Damage& damage) {
        throw Failure(path + ": damaged contract (" + damage.reason + ")");
    }
}

}  // namespace lstn
