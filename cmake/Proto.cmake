# chorad_proto(name dep...): protobuf-c code from proto/*.proto, made at build
# time into <build>/proto and included as "rpc.pb-c.h".
find_program(PROTOC_C protoc-c REQUIRED)
function(chorad_proto name)
  file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/proto/*.proto)
  set(out ${CMAKE_BINARY_DIR}/proto)
  file(MAKE_DIRECTORY ${out})
  set(generated "")
  foreach(proto ${protos})
    get_filename_component(stem ${proto} NAME_WE)
    add_custom_command(
      OUTPUT ${out}/${stem}.pb-c.c ${out}/${stem}.pb-c.h
      COMMAND ${PROTOC_C} --c_out=${out} -I${CMAKE_SOURCE_DIR}/proto ${proto}
      DEPENDS ${protos} VERBATIM)
    list(APPEND generated ${out}/${stem}.pb-c.c)
  endforeach()
  if(generated)
    add_library(${name} STATIC ${generated})
    target_include_directories(${name} SYSTEM PUBLIC ${out})
    target_compile_options(${name} PRIVATE -w)
    target_link_libraries(${name} PUBLIC ${ARGN})
  else()
    add_library(${name} INTERFACE)
  endif()
endfunction()
