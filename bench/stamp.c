/*
 * stamp FILE PROGRAM [WORDS…]: write CLOCK_MONOTONIC in nanoseconds to FILE, then exec PROGRAM.
 * Times measured from this value start at the program's exec, whatever has started it.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int words, char **word)
{
	struct timespec t;
	FILE *file;

	if (words < 3 || !(file = fopen(word[1], "we"))) {
		fprintf(stderr, "usage: stamp FILE PROGRAM [WORDS...]\n");
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &t);
	fprintf(file, "%lld\n", t.tv_sec * 1000000000ll + t.tv_nsec);
	fclose(file);
	execvp(word[2], word + 2);
	perror(word[2]);
	return 127;
}
