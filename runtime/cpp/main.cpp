// lstn-infer: classify images with a model of lstn, without Python.
//
// Prints what `lstn infer IMAGE... --engine FILE --format jsonl` prints: a row for each image, in the order given.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <future>
#include <iostream>
#include <new>
#include <numeric>
#include <thread>
#include <variant>

#include "classifier.h"
#include "contract.h"
#include "failure.h"
#include "image_file.h"
#include "onnx_file.h"
#include "text.h"

namespace {

using namespace lstn;

constexpr char kUsage[] =
    "Usage: lstn-infer --engine FILE [--top K] [--threads N] IMAGE...\n"
    "\n"
    "Classify JPEG and PNG files with model.onnx, as lstn infer does, and print a line of JSON for each.\n"
    "An image that cannot be read becomes a row with its error, the others go on, and the exit code is 1.\n"
    "\n"
    "  --engine FILE  model.onnx, written by lstn export or lstn calibrate\n"
    "  --top K        labels for each image, best first (default: 1)\n"
    "  --threads N    threads of ONNX Runtime (default: one for each core)\n"
    "  --help         show this text\n";

constexpr unsigned kMostDecoders = 8;
constexpr int kMostTop = 100'000, kMostThreads = 1024;

struct Request {
    std::string engine;
    std::vector<std::string> images;
    int top = 1, threads = 0;
};

// A path as Python's pathlib writes it: without empty parts and parts that are a single point.
std::string tidy(const std::string& path) {
    const bool two = path.compare(0, 2, "//") == 0 && path.compare(0, 3, "///") != 0;
    const std::string root = two ? "//" : path.compare(0, 1, "/") == 0 ? "/" : "";
    std::string tidied = root;
    for (std::size_t start = 0; start <= path.size();) {
        const std::size_t end = std::min(path.find('/', start), path.size());
        const std::string part = path.substr(start, end - start);
        if (!part.empty() && part != ".") tidied += (tidied == root ? "" : "/") + part;
        start = end + 1;
    }
    return tidied.empty() ? "." : tidied;
}

int count_of(const std::string& option, const std::string& text, int most) {
    const bool digits = !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
    const int count = digits ? std::stoi(text) : 0;
    if (count < 1 || count > most)
        throw UsageFailure(option + " " + text + ": expected a number from 1 to " + std::to_string(most));
    return count;
}

Request request_of(const std::vector<std::string>& words) {
    Request request;
    bool options = true;
    for (std::size_t at = 0; at < words.size(); ++at) {
        const std::string& word = words[at];
        if (!options || word.empty() || word[0] != '-') {
            request.images.push_back(tidy(word));
        } else if (word == "--") {
            options = false;
        } else if (word == "--engine" || word == "--top" || word == "--threads") {
            if (++at == words.size()) throw UsageFailure(word + " needs a value", "see lstn-infer --help");
            if (word == "--engine") request.engine = words[at];
            if (word == "--top") request.top = count_of(word, words[at], kMostTop);
            if (word == "--threads") request.threads = count_of(word, words[at], kMostThreads);
        } else {
            throw UsageFailure("no such option: " + word, "see lstn-infer --help");
        }
    }
    if (request.engine.empty()) throw UsageFailure("no model is named", "add --engine model.onnx");
    if (request.images.empty()) throw UsageFailure("no images are named", "name JPEG or PNG files");
    return request;
}

// Images that are missing are a mistake in typing, and told before the work.
void check_images(const std::vector<std::string>& images) {
    for (const std::string& image : images) {
        struct stat status{};
        if (stat(image.c_str(), &status) != 0) throw UsageFailure(image + ": " + std::strerror(errno));
        if (S_ISDIR(status.st_mode))
            throw UsageFailure(image + ": a folder", "name the files in it: " + image + "/*.jpg");
    }
}

// Pixels, or why there are none.
using Decoded = std::variant<Picture, std::string>;

Decoded decoded(const std::string& image, const Framing& framing) {
    try {
        return decode(image, framing);
    } catch (const ImageFailure& failure) {
        return std::string(failure.what());
    } catch (const std::bad_alloc&) {
        return std::string("not enough memory for its pixels");
    }
}

// Threads decode the next images while the model computes.
class Decoders {
  public:
    Decoders(const std::vector<std::string>& images, const Framing& framing) : images_(images), framing_(framing) {}

    // What became of the next image.
    Decoded next() {
        static const std::size_t window = std::clamp(std::thread::hardware_concurrency(), 1u, kMostDecoders);
        for (; begun_ < images_.size() && ahead_.size() < window; ++begun_)
            ahead_.push_back(std::async(std::launch::async, decoded, std::cref(images_[begun_]), std::cref(framing_)));
        Decoded first = ahead_.front().get();
        ahead_.pop_front();
        return first;
    }

  private:
    const std::vector<std::string>& images_;
    const Framing& framing_;
    std::size_t begun_ = 0;
    std::deque<std::future<Decoded>> ahead_;
};

std::vector<float> softmax(const std::vector<float>& logits) {
    const float highest = *std::max_element(logits.begin(), logits.end());
    std::vector<float> shares(logits.size());
    std::transform(logits.begin(), logits.end(), shares.begin(),
                   [&](float logit) { return std::exp(logit - highest); });
    const float sum = std::accumulate(shares.begin(), shares.end(), 0.0f);
    for (float& share : shares) share /= sum;
    return shares;
}

// Nested lists of a theta, by its shape.
std::string lists(const float*& number, const std::vector<std::int64_t>& shape, std::size_t axis) {
    if (axis == shape.size()) return json_number(*number++);
    std::string text = "[";
    for (std::int64_t index = 0; index < shape[axis]; ++index)
        text += (index ? ", " : "") + lists(number, shape, axis + 1);
    return text + "]";
}

std::string error_row(const std::string& image, const std::string& error) {
    return "{\"path\": " + json_string(image) + ", \"error\": " + json_string(error) + "}\n";
}

std::string answer_row(const std::string& image, const Answer& answer, const Contract& contract, int top) {
    const std::vector<float> shares = softmax(answer.logits);
    std::vector<std::size_t> order(shares.size());
    std::iota(order.begin(), order.end(), std::size_t(0));
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t one, std::size_t other) { return shares[one] > shares[other]; });
    order.resize(std::min(order.size(), static_cast<std::size_t>(top)));
    const auto guess = [&](std::size_t index) {
        return "\"label\": " + json_string(contract.labels[index]) + ", \"probability\": " + json_number(shares[index]);
    };
    std::string row = "{\"path\": " + json_string(image) + ", " + guess(order[0]) + ", \"top\": [";
    for (std::size_t rank = 0; rank < order.size(); ++rank) row += (rank ? ", {" : "{") + guess(order[rank]) + "}";
    row += "]";
    const float* number = answer.theta.data();
    if (!contract.theta_shape.empty()) row += ", \"theta\": " + lists(number, contract.theta_shape, 0);
    return row + "}\n";
}

// Rows go to standard output one by one: whoever reads them sees each when it is there.
void write_row(const std::string& row) {
    if (std::fwrite(row.data(), 1, row.size(), stdout) != row.size() || std::fflush(stdout) != 0)
        throw Failure(errno == EPIPE ? "" : std::string("output: ") + std::strerror(errno));
}

std::string images_text(std::size_t count) { return std::to_string(count) + (count == 1 ? " image" : " images"); }

void infer(const Request& request) {
    check_images(request.images);
    const MappedFile model(request.engine);
    const Contract contract = read_contract(contract_text(model.data(), request.engine), request.engine);
    Classifier classifier(model.data(), request.engine, contract, request.threads);
    const auto started = std::chrono::steady_clock::now();
    std::size_t failed = 0;
    Decoders decoders(request.images, contract.framing);
    for (const std::string& image : request.images) {
        Decoded pixels = decoders.next();
        std::string error;
        if (auto* picture = std::get_if<Picture>(&pixels)) {
            const Answer answer = classifier.answer(*picture);
            if (answer.finite())
                write_row(answer_row(image, answer, contract, request.top));
            else
                error = "the model's answer is not a number";
        } else {
            error = std::get<std::string>(pixels);
        }
        if (error.empty()) continue;
        write_row(error_row(image, error));
        ++failed;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    const double rate = static_cast<double>(request.images.size()) / took.count();
    std::fprintf(stderr, "%s in %.1f s, %.0f images/s\n", images_text(request.images.size()).c_str(), took.count(),
                 rate);
    if (failed > 0)
        throw Failure("no answer for " + std::to_string(failed) + " of " + images_text(request.images.size()),
                      "the error in their rows says why");
}

int fail(const Failure& failure) {
    const std::string message = failure.what();
    if (!message.empty()) std::cerr << "error: " << printable(message) << '\n';
    if (!failure.hint.empty()) std::cerr << "  " << printable(failure.hint) << '\n';
    return failure.exit_code;
}

}  // namespace

int main(int count, char** words) {
    std::signal(SIGPIPE, SIG_IGN);  // whoever reads the rows may leave early
    try {
        const std::vector<std::string> given(words + 1, words + count);
        if (std::find(given.begin(), given.end(), "--help") != given.end()) {
            std::cout << kUsage;
            return 0;
        }
        infer(request_of(given));
        return 0;
    } catch (const Failure& failure) {
        return fail(failure);
    } catch (const std::bad_alloc&) {
        return fail(Failure("not enough memory", "use a smaller model, or fewer threads"));
    } catch (const std::exception& error) {  // such as no thread to be had
        return fail(Failure(error.what()));
    }
}
