/* Receives so many events through FreeSWITCH's own client library, looks up one header of each, and prints when it was
 * done (CLOCK_MONOTONIC, s) and the processor time it took (s). Ours; it is compiled against a libesl that is there. */
#define _GNU_SOURCE
#include <esl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double processor(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    esl_handle_t handle;
    struct timespec now;
    cpu_set_t core;
    long wanted, seen = 0;
    double before;

    if (argc < 4) return 2;
    if (argc > 4) {
        CPU_ZERO(&core);
        CPU_SET(atoi(argv[4]), &core);
        sched_setaffinity(0, sizeof(core), &core);
    }
    memset(&handle, 0, sizeof(handle));
    wanted = atol(argv[2]);
    esl_global_set_default_logger(0);
    if (esl_connect(&handle, "127.0.0.1", (esl_port_t) atoi(argv[1]), NULL, "x") != ESL_SUCCESS) return 1;
    esl_events(&handle, strcmp(argv[3], "json") ? ESL_EVENT_TYPE_PLAIN : ESL_EVENT_TYPE_JSON, "ALL");
    before = processor();
    while (seen < wanted && esl_recv(&handle) == ESL_SUCCESS) {
        if (handle.last_ievent && esl_event_get_header(handle.last_ievent, "Event-Name")) seen++;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("{\"ended_s\": %.6f, \"cpu_s\": %.6f}\n", now.tv_sec + now.tv_nsec / 1e9, processor() - before);
    esl_disconnect(&handle);
    return seen < wanted;
}
