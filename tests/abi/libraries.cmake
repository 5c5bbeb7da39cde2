# Compares what a shared library needs when it runs with a list of names, without version numbers.
# cmake -DREADELF=... -DLIBRARY=... -DALLOWED=... -P libraries.cmake
execute_process(COMMAND "${READELF}" --dynamic --wide "${LIBRARY}"
  OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "NEEDED[^\n]*" entries "${dynamic}")
file(STRINGS "${ALLOWED}" allowed)
if(NOT entries)
  message(FATAL_ERROR "${LIBRARY}: no library is needed, not even libc")
endif()
foreach(entry IN LISTS entries)
  string(REGEX REPLACE "^.*\\[(.*)\\.so.*\\].*$" "\\1" name "${entry}")
  list(FIND allowed "${name}" place)
  if(place EQUAL -1)
    message(FATAL_ERROR "${LIBRARY} needs ${name}, which ${ALLOWED} does not list")
  endif()
endforeach()
