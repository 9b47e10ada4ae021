// streams FILE <FILE: C++'s streams; a line each: how, bytes, a digest.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

static void show(const char *how, const std::string &got)
{
	std::uint64_t h = 14695981039346656037u;
	for (unsigned char c : got)
		h = (h ^ c) * 1099511628211u;
	std::printf("%s %zu %016llx\n", how, got.size(), static_cast<unsigned long long>(h));
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	std::string all(std::istreambuf_iterator<char>(std::cin), {});
	show("cin", all);
	std::ifstream file(argv[1], std::ios::binary);
	show("ifstream", std::string(std::istreambuf_iterator<char>(file), {}));
	file.clear();
	file.seekg(-5000, std::ios::end);
	std::string part(4000, '\0');
	file.read(&part[0], static_cast<std::streamsize>(part.size()));
	show("seekg", part);
	std::fstream both(argv[1], std::ios::binary | std::ios::in | std::ios::out); // asked for read and write
	show("fstream", std::string(std::istreambuf_iterator<char>(both), {}));
	std::string line;
	std::ifstream lines(argv[1]);
	std::size_t count = 0;
	while (std::getline(lines, line))
		count += line.size();
	std::printf("getline %zu\n", count);
	std::wifstream wide(argv[1]);
	std::size_t n = 0;
	while (wide.get() != std::wifstream::traits_type::eof()) // the "C" locale ends at the first byte above 127
		n++;
	std::printf("wide %zu\n", n);
	return 0;
}
