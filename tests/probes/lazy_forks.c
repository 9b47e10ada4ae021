/* Four threads fork at the same time; every child must find what was written into private mappings. lazy_forks FILE REFERENCE */
#include <pthread.h>
#include <sys/wait.h>

#include "probe.h"

#define MAPPINGS 64
#define PAGES 2
#define THREADS 4
#define FORKS 100

static unsigned char *maps[MAPPINGS];
static _Atomic int wrong;

static unsigned char written(int mapping)
{
	return (unsigned char)(mapping + 7);
}

static void *forks(void *arg)
{
	(void)arg;
	for (int i = 0; i < FORKS; i++) {
		int status = 0;
		pid_t child = fork();
		if (child < 0)
			probe_die("fork");
		if (child == 0) {
			for (int k = 0; k < MAPPINGS * PAGES; k++)
				if (maps[k / PAGES][(size_t)(k % PAGES) * probe_page] != written(k / PAGES))
					_exit(1);
			_exit(0);
		}
		waitpid(child, &status, 0);
		wrong += status != 0;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	if (argc != 3)
		return 2;
	probe_open(argv[1], argv[2]);
	for (int k = 0; k < MAPPINGS; k++) {
		maps[k] = map_part(PROT_READ | PROT_WRITE, MAP_PRIVATE, (size_t)k * PAGES * probe_page, PAGES * probe_page);
		for (size_t i = 0; i < PAGES; i++)
			maps[k][i * probe_page] = written(k);
	}
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, forks, NULL))
			probe_die("pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	line("children", "%s", wrong ? "some without what was written" : "right");
	return 0;
}
