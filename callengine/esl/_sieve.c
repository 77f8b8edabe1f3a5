/* The hot path of callengine.esl.sieve in C: cut the JSON events that lie whole in what came off the socket, and copy of
 * each one what is ever read of it. One pass over the bytes, and no object for an event but what is left of it.
 *
 * It decides nothing: whatever is not as FreeSWITCH writes it (switch_event.c, switch_event_serialize_json: one flat
 * object, unformatted, of strings and arrays of strings) is handed to ``other``, the same work in Python. Which headers are
 * read, and as what, comes from callengine.esl.headers; the one name here is what every event begins with.
 *
 * VERSION has to be raised with each change: what was built of an older source is left alone.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define VERSION 2

/* callengine.esl.headers.Kind */
enum { NUMBER = 1, OMITTED_0 = 2, UUID = 4, AT = 8, CREATED = 16, HUNG_UP = 32, ODD = 64 };

#define MAX_DIGITS 18
#define MAX_SPANS 96
#define MAX_UUID 256
#define LENGTH "Content-Length: "
#define LENGTH_DIGITS 10
#define TAIL "\nContent-Type: text/event-json\n\n"
#define PREFIX "{\"Event-Name\":\""
#define SIZE(literal) (sizeof(literal) - 1)

typedef struct {
    const char *name; /* of a bytes object that the Cutter holds */
    uint32_t size;
    uint32_t kind;
    uint64_t once; /* a bit of its own, where a second one would not be plain */
} Header;

typedef struct {
    const char *name;
    size_t size;
    Header *headers; /* open addressing; a power of two of them, at most half of them taken */
    uint32_t mask;
    int channel; /* an event that is about a channel has to say which, and when */
    int completes, destroys;
} Event;

typedef struct {
    PyObject_HEAD
    PyObject *names; /* keeps alive what Event and Header point to */
    PyObject *ended, *other;
    Event *events;
    Py_ssize_t count;
    Py_ssize_t max_body, max_ended;
    unsigned long long max_number;
    unsigned long long seen, repeats;
} Cutter;

static uint32_t slot_of(const char *name, size_t size)
{
    uint64_t word = 0;
    if (size >= 8)
        memcpy(&word, name + size - 8, 8);
    else
        memcpy(&word, name, size);
    return (uint32_t)(((word ^ (size << 3)) * UINT64_C(0x9E3779B97F4A7C15)) >> 40);
}

/* What a string has beside plain characters. */
enum { ESCAPED = 1, UNICODE_ESCAPED = 2, NOT_ASCII = 4 };

static int is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The closing quote of the string whose first character is at ``p``; NULL where it has none, or what no JSON has. */
static const char *closing(const char *p, const char *end, unsigned *has)
{
    for (;;) {
#ifdef __SSE2__
        const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(' ');
        while (end - p >= 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)p);
            /* As signed bytes both control characters and those beyond ASCII are less than a space. */
            unsigned special = (unsigned)_mm_movemask_epi8(_mm_or_si128(
                _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash)),
                _mm_cmplt_epi8(bytes, space)));
            if (special) {
                p += __builtin_ctz(special);
                break;
            }
            p += 16;
        }
#endif
        for (;; p++) {
            if (p >= end)
                return NULL;
            if (*p == '"' || *p == '\\' || (signed char)*p < ' ')
                break;
        }
        if (*p == '"')
            return p;
        if (*p == '\\') {
            if (end - p < 2)
                return NULL;
            *has |= ESCAPED;
            switch (p[1]) {
            case 'u':
                if (end - p < 6 || !is_hex(p[2]) || !is_hex(p[3]) || !is_hex(p[4]) || !is_hex(p[5])
                    /* half of a pair, or the first of one: the switch writes none */
                    || ((p[2] | 0x20) == 'd' && (p[3] | 0x20) >= '8'))
                    return NULL;
                *has |= UNICODE_ESCAPED;
                p += 6;
                break;
            case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
                p += 2;
                break;
            default:
                return NULL;
            }
        } else if ((unsigned char)*p < ' ') {
            return NULL;
        } else {
            *has |= NOT_ASCII;
            p++;
        }
    }
}

/* Behind an array of strings, whose bracket is at ``p``; NULL where it is none. */
static const char *behind_array(const char *p, const char *end)
{
    unsigned has = 0;
    p++;
    if (p < end && *p == ']')
        return p + 1;
    for (;;) {
        if (p >= end || *p != '"' || (p = closing(p + 1, end, &has)) == NULL || ++p >= end)
            return NULL;
        if (*p == ']')
            return p + 1;
        if (*p++ != ',')
            return NULL;
    }
}

/* Whether it is a number as the switch writes one, no larger than ``max``. */
static int number_of(const char *p, size_t size, unsigned long long max, unsigned long long *number)
{
    unsigned long long found = 0;
    size_t i;
    if (size == 0 || size > MAX_DIGITS || (size > 1 && *p == '0'))
        return 0;
    for (i = 0; i < size; i++) {
        if (p[i] < '0' || p[i] > '9')
            return 0;
        found = found * 10 + (unsigned long long)(p[i] - '0');
    }
    *number = found;
    return found <= max;
}

static int is_word(const char *p, size_t size, char also)
{
    size_t i, letters = 0;
    for (i = 0; i < size; i++) {
        char c = p[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
            letters++;
        else if (c != also)
            return 0;
    }
    return letters > 0;
}

static const Event *event_named(const Cutter *self, const char *name, size_t size)
{
    Py_ssize_t i;
    for (i = 0; i < self->count; i++)
        if (self->events[i].size == size && memcmp(self->events[i].name, name, size) == 0)
            return &self->events[i];
    return NULL;
}

static const Header *header_named(const Event *event, const char *name, size_t size)
{
    uint32_t slot = slot_of(name, size) & event->mask;
    for (; event->headers[slot].name != NULL; slot = (slot + 1) & event->mask)
        if (event->headers[slot].size == size && memcmp(event->headers[slot].name, name, size) == 0)
            return &event->headers[slot];
    return NULL;
}

typedef struct {
    const char *at;
    size_t size;
} Span;

typedef enum { FAILED = -1, KEPT, DROPPED, OTHER } Found;

/* Whether the end of that very life was told: 1, 0 or -1. It is forgotten either way. */
static int repeats(Cutter *self, Span uuid, Span created)
{
    int same = 0;
    PyObject *known, *key = PyBytes_FromStringAndSize(uuid.at, (Py_ssize_t)uuid.size);
    if (key == NULL)
        return -1;
    known = PyDict_GetItemWithError(self->ended, key);
    if (known == NULL && PyErr_Occurred()) {
        Py_DECREF(key);
        return -1;
    }
    if (known != NULL) {
        char *bytes;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(known, &bytes, &size) < 0)
            same = -1;
        else {
            same = (size_t)size == created.size && memcmp(bytes, created.at, created.size) == 0;
            if (PyDict_DelItem(self->ended, key) < 0)
                same = -1;
        }
    }
    Py_DECREF(key);
    return same;
}

static int note_end(Cutter *self, Span uuid, Span created)
{
    int failed = -1;
    PyObject *key, *value;
    if (PyDict_Size(self->ended) >= self->max_ended) {
        Py_ssize_t at = 0;
        PyObject *oldest;
        if (PyDict_Next(self->ended, &at, &oldest, NULL)) {
            Py_INCREF(oldest);
            failed = PyDict_DelItem(self->ended, oldest);
            Py_DECREF(oldest);
            if (failed)
                return -1;
        }
    }
    key = PyBytes_FromStringAndSize(uuid.at, (Py_ssize_t)uuid.size);
    value = PyBytes_FromStringAndSize(created.at, (Py_ssize_t)created.size);
    if (key != NULL && value != NULL)
        failed = PyDict_SetItem(self->ended, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return failed;
}

static PyObject *joined(const Span *spans, int count, size_t size)
{
    int i;
    char *to;
    PyObject *body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (body == NULL || (to = PyBytes_AsString(body)) == NULL)
        return NULL;
    for (i = 0; i < count; i++) {
        *to++ = i == 0 ? '{' : ',';
        memcpy(to, spans[i].at, spans[i].size);
        to += spans[i].size;
    }
    *to = '}';
    return body;
}

/* What is left of one event, in ``left`` where something is. */
static Found digest(Cutter *self, const char *body, const char *end, PyObject **left)
{
    const char *name, *p;
    const Event *event;
    Span spans[MAX_SPANS], uuid = {NULL, 0}, created = {NULL, 0};
    unsigned long long at_us = 0, created_us = 0, hung_up_us = 0;
    size_t total = 2;
    uint64_t met = 0;
    unsigned in_kept = 0;
    int count = 1, looked = 0;

    if (end - body < (Py_ssize_t)SIZE(PREFIX) || memcmp(body, PREFIX, SIZE(PREFIX)) != 0)
        return OTHER;
    name = body + SIZE(PREFIX);
    p = memchr(name, '"', (size_t)(end - name));
    if (p == NULL)
        return OTHER;
    event = event_named(self, name, (size_t)(p - name));
    if (event == NULL)
        return is_word(name, (size_t)(p - name), '_') ? DROPPED : OTHER;
    p++;
    spans[0].at = body + 1;
    spans[0].size = (size_t)(p - spans[0].at);
    total += spans[0].size;

    while (p < end && *p == ',') {
        const char *key = p + 1, *value, *stop;
        const Header *header;
        unsigned long long number = 0;
        unsigned has = 0, in_value = 0;
        if (key >= end || *key != '"' || (stop = closing(key + 1, end, &has)) == NULL || (has & ESCAPED))
            return OTHER;
        if (end - stop < 3 || stop[1] != ':')
            return OTHER;
        value = stop + 2;
        header = header_named(event, key + 1, (size_t)(stop - key - 1));
        if (*value != '"') {
            /* Of what is read nothing is an array. */
            if (header != NULL || *value != '[' || (p = behind_array(value, end)) == NULL)
                return OTHER;
            continue;
        }
        value++;
        stop = closing(value, end, &in_value);
        if (stop == NULL)
            return OTHER;
        p = stop + 1;
        if (header == NULL)
            continue;
        if ((in_value & UNICODE_ESCAPED) || (header->kind & ODD) || (header->once & met))
            return OTHER;
        met |= header->once;
        if (header->kind & UUID) {
            if (in_value & ESCAPED)
                return OTHER;
            uuid.at = value;
            uuid.size = (size_t)(stop - value);
        }
        if (header->kind & NUMBER) {
            if (!number_of(value, (size_t)(stop - value), self->max_number, &number))
                return OTHER;
            if (header->kind & AT)
                at_us = number;
            if (header->kind & HUNG_UP)
                hung_up_us = number;
            if (header->kind & CREATED) {
                created.at = value;
                created.size = (size_t)(stop - value);
                created_us = number;
            }
        }
        if (event->destroys && !looked && uuid.at != NULL && created.at != NULL) {
            looked = 1;
            if (is_word(uuid.at, uuid.size, '-')) {
                int same = repeats(self, uuid, created);
                if (same < 0)
                    return FAILED;
                if (same) {
                    self->repeats++;
                    return DROPPED;
                }
            }
        }
        if (number == 0 && (header->kind & OMITTED_0))
            continue;
        if (count == MAX_SPANS)
            return OTHER;
        in_kept |= in_value;
        spans[count].at = key;
        spans[count].size = (size_t)(p - key);
        total += spans[count++].size + 1;
    }
    if (end - p != 1 || *p != '}')
        return OTHER;
    if (event->channel && (uuid.size < 1 || uuid.size > MAX_UUID || at_us == 0))
        return OTHER;
    if ((*left = joined(spans, count, total)) == NULL)
        return FAILED;
    if (in_kept & NOT_ASCII) {
        PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AsString(*left), PyBytes_Size(*left), "strict");
        if (text == NULL) {
            Py_CLEAR(*left);
            if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
                return FAILED;
            PyErr_Clear();
            return OTHER;
        }
        Py_DECREF(text);
    }
    if (event->completes && hung_up_us != 0 && created_us != 0 && is_word(uuid.at, uuid.size, '-'))
        if (note_end(self, uuid, created) < 0) {
            Py_CLEAR(*left);
            return FAILED;
        }
    return KEPT;
}

static int take_one(Cutter *self, const char *body, Py_ssize_t size, PyObject *bodies)
{
    PyObject *left = NULL;
    int failed = 0;
    Found found;
    if (self->ended == NULL || self->other == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "it was taken apart");
        return -1;
    }
    found = digest(self, body, body + size, &left);
    self->seen++;
    if (found == OTHER) {
        PyObject *whole = PyBytes_FromStringAndSize(body, size);
        if (whole == NULL)
            return -1;
        left = PyObject_CallFunctionObjArgs(self->other, whole, NULL);
        Py_DECREF(whole);
        if (left == NULL)
            return -1;
    } else if (found == FAILED) {
        return -1;
    }
    if (left != NULL && left != Py_None)
        failed = PyList_Append(bodies, left);
    Py_XDECREF(left);
    return failed;
}

PyDoc_STRVAR(cut_doc,
    "cut($self, chunk, at, bodies, /)\n--\n\n"
    "Append what is left of the JSON events that lie whole in ``chunk`` from ``at`` on; return where anything else,\n"
    "or an event cut short, begins.");

static PyObject *cut(PyObject *op, PyObject *args)
{
    Cutter *self = (Cutter *)op;
    PyObject *chunk, *bodies;
    Py_ssize_t at, size;
    char *bytes;
    if (!PyArg_ParseTuple(args, "SnO!:cut", &chunk, &at, &PyList_Type, &bodies))
        return NULL;
    if (PyBytes_AsStringAndSize(chunk, &bytes, &size) < 0)
        return NULL;
    if (at < 0 || at > size) {
        PyErr_SetString(PyExc_ValueError, "at is not within chunk");
        return NULL;
    }
    for (;;) {
        const char *p = bytes + at, *end = bytes + size;
        unsigned long long length = 0;
        int digits = 0;
        if (end - p < (Py_ssize_t)(SIZE(LENGTH) + 1 + SIZE(TAIL)) || memcmp(p, LENGTH, SIZE(LENGTH)) != 0)
            break;
        for (p += SIZE(LENGTH); p < end && *p >= '0' && *p <= '9' && digits <= LENGTH_DIGITS; p++, digits++)
            length = length * 10 + (unsigned long long)(*p - '0');
        if (digits == 0 || digits > LENGTH_DIGITS || length > (unsigned long long)self->max_body)
            break;
        if (end - p < (Py_ssize_t)SIZE(TAIL) || memcmp(p, TAIL, SIZE(TAIL)) != 0)
            break;
        p += SIZE(TAIL);
        if (end - p < (Py_ssize_t)length)
            break;
        if (take_one(self, p, (Py_ssize_t)length, bodies) < 0)
            return NULL;
        at = (Py_ssize_t)(p - bytes) + (Py_ssize_t)length;
    }
    return PyLong_FromSsize_t(at);
}

PyDoc_STRVAR(take_doc, "take($self, body, bodies, /)\n--\n\nAppend what is left of one JSON event.");

static PyObject *take(PyObject *op, PyObject *args)
{
    PyObject *body, *bodies;
    char *bytes;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "SO!:take", &body, &PyList_Type, &bodies))
        return NULL;
    if (PyBytes_AsStringAndSize(body, &bytes, &size) < 0 || take_one((Cutter *)op, bytes, size, bodies) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int fill_event(Cutter *self, Event *event, PyObject *headers)
{
    PyObject *name, *kind;
    Py_ssize_t at = 0, size;
    uint32_t room = 16;
    uint64_t bit = 1;
    while (room < 2 * (size_t)PyDict_Size(headers))
        room *= 2;
    event->headers = PyMem_Calloc(room, sizeof(Header));
    if (event->headers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    event->mask = room - 1;
    while (PyDict_Next(headers, &at, &name, &kind)) {
        char *bytes;
        unsigned long flags = PyLong_AsUnsignedLong(kind);
        uint32_t slot;
        if ((flags == (unsigned long)-1 && PyErr_Occurred()) || PyBytes_AsStringAndSize(name, &bytes, &size) < 0)
            return -1;
        slot = slot_of(bytes, (size_t)size) & event->mask;
        while (event->headers[slot].name != NULL)
            slot = (slot + 1) & event->mask;
        event->headers[slot].name = bytes;
        event->headers[slot].size = (uint32_t)size;
        event->headers[slot].kind = (uint32_t)flags;
        if (flags & (NUMBER | UUID)) {
            if (bit == 0) {
                PyErr_SetString(PyExc_ValueError, "layout has an event of too many numbers");
                return -1;
            }
            event->headers[slot].once = bit;
            bit <<= 1;
        }
        if (flags & UUID)
            event->channel = 1;
        if (PyList_Append(self->names, name) < 0)
            return -1;
    }
    return 0;
}

static int is_bytes(PyObject *object, const char *bytes, Py_ssize_t size)
{
    return PyBytes_Size(object) == size && memcmp(PyBytes_AsString(object), bytes, (size_t)size) == 0;
}

static int fill(Cutter *self, PyObject *layout, PyObject *completes, PyObject *destroys)
{
    PyObject *name, *headers;
    Py_ssize_t at = 0, size;
    self->events = PyMem_Calloc((size_t)PyDict_Size(layout) + 1, sizeof(Event));
    if (self->events == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    while (PyDict_Next(layout, &at, &name, &headers)) {
        Event *event = &self->events[self->count];
        char *bytes;
        if (PyBytes_AsStringAndSize(name, &bytes, &size) < 0 || PyList_Append(self->names, name) < 0)
            return -1;
        if (!PyDict_Check(headers)) {
            PyErr_SetString(PyExc_TypeError, "layout has something that is no dict");
            return -1;
        }
        event->name = bytes;
        event->size = (size_t)size;
        self->count++;
        if (fill_event(self, event, headers) < 0)
            return -1;
        event->completes = is_bytes(completes, bytes, size);
        event->destroys = is_bytes(destroys, bytes, size);
    }
    return 0;
}

static PyObject *cutter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {
        "layout", "completes", "destroys", "ended", "max_ended", "max_body", "max_number", "other", NULL};
    PyObject *layout, *completes, *destroys, *ended, *other;
    Py_ssize_t max_ended, max_body;
    unsigned long long max_number;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Cutter *self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!SSO!nnKO:Cutter", words, &PyDict_Type, &layout, &completes,
            &destroys, &PyDict_Type, &ended, &max_ended, &max_body, &max_number, &other))
        return NULL;
    self = (Cutter *)alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->names = PyList_New(0);
    self->ended = Py_NewRef(ended);
    self->other = Py_NewRef(other);
    self->max_ended = max_ended;
    self->max_body = max_body;
    self->max_number = max_number;
    if (self->names == NULL || fill(self, layout, completes, destroys) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int cutter_traverse(PyObject *op, visitproc visit, void *arg)
{
    Cutter *self = (Cutter *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->names);
    Py_VISIT(self->ended);
    Py_VISIT(self->other);
    return 0;
}

static int cutter_clear(PyObject *op)
{
    Cutter *self = (Cutter *)op;
    Py_CLEAR(self->ended);
    Py_CLEAR(self->other);
    return 0;
}

static void cutter_dealloc(PyObject *op)
{
    Cutter *self = (Cutter *)op;
    PyTypeObject *type = Py_TYPE(op);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Py_ssize_t i;
    PyObject_GC_UnTrack(op);
    cutter_clear(op);
    for (i = 0; i < self->count; i++)
        PyMem_Free(self->events[i].headers);
    PyMem_Free(self->events);
    Py_CLEAR(self->names);
    release(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(counted_doc,
    "counted($self, /)\n--\n\n"
    "How many events came since this was last asked, and how many of them repeated an end that was told.");

static PyObject *counted(PyObject *op, PyObject *unused)
{
    Cutter *self = (Cutter *)op;
    PyObject *told = Py_BuildValue("KK", self->seen, self->repeats);
    (void)unused;
    if (told != NULL)
        self->seen = self->repeats = 0;
    return told;
}

static PyMethodDef methods[] = {
    {"cut", cut, METH_VARARGS, cut_doc},
    {"take", take, METH_VARARGS, take_doc},
    {"counted", counted, METH_NOARGS, counted_doc},
    {NULL, NULL, 0, NULL}};

static PyType_Slot slots[] = {
    {Py_tp_new, cutter_new},
    {Py_tp_traverse, cutter_traverse},
    {Py_tp_clear, cutter_clear},
    {Py_tp_dealloc, cutter_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_doc, "Cuts events and keeps of each what is read of it; see callengine.esl.sieve."},
    {0, NULL}};

static PyType_Spec spec = {
    "callengine.esl._sieve.Cutter", sizeof(Cutter), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};

static int exec_module(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed;
    if (type == NULL)
        return -1;
    failed = PyModule_AddObjectRef(module, "Cutter", type);
    Py_DECREF(type);
    return failed || PyModule_AddIntConstant(module, "VERSION", VERSION) ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, exec_module}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "callengine.esl._sieve", "The hot path of callengine.esl.sieve.", 0, NULL, module_slots,
    NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__sieve(void)
{
    return PyModuleDef_Init(&module);
}
